//! Where a value of MessagePack ends, by its lengths alone.

/// Whether the bytes are exactly one value, as far as its lengths tell.
///
/// A reader of MessagePack stops at the end of the value, whatever follows, and reserves room for as many elements as a
/// list announces, up to a megabyte at each level. Behind this look no list announces more than there are bytes.
pub(super) fn is_one_value(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    // A value has at least one byte, so that more announced values than bytes are a lie.
    let mut announced = 1;
    while announced > 0 {
        let Some((content, inner)) = head(&mut rest) else { return false };
        let Some((_, after)) = rest.split_at_checked(content) else { return false };
        rest = after;
        announced += inner - 1;
        if announced > rest.len() as i64 {
            return false;
        }
    }
    rest.is_empty()
}

/// Reads the head of a value: how many bytes of content follow, and how many values are in it.
fn head(rest: &mut &[u8]) -> Option<(usize, i64)> {
    let (&[marker], after) = rest.split_first_chunk()?;
    *rest = after;
    let mut length = |bytes: usize| {
        let (length, after) = rest.split_at_checked(bytes)?;
        *rest = after;
        Some(length.iter().fold(0_u32, |length, byte| length << 8 | u32::from(*byte)))
    };
    Some(match marker {
        0x80..=0x8f => (0, 2 * i64::from(marker & 0x0f)),
        0x90..=0x9f => (0, i64::from(marker & 0x0f)),
        0xa0..=0xbf => (usize::from(marker & 0x1f), 0),
        0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (0, 0),
        0xc1 => return None,
        // Bytes, texts, and extensions, which have a type beside their length.
        0xc4 | 0xd9 => (length(1)? as usize, 0),
        0xc5 | 0xda => (length(2)? as usize, 0),
        0xc6 | 0xdb => (length(4)? as usize, 0),
        0xc7 => (length(1)? as usize + 1, 0),
        0xc8 => (length(2)? as usize + 1, 0),
        0xc9 => ((length(4)? as usize).checked_add(1)?, 0),
        0xcc | 0xd0 => (1, 0),
        0xcd | 0xd1 => (2, 0),
        0xca | 0xce | 0xd2 => (4, 0),
        0xcb | 0xcf | 0xd3 => (8, 0),
        0xd4..=0xd8 => ((1 << (marker - 0xd4)) + 1, 0),
        0xdc => (0, length(2)?.into()),
        0xdd => (0, length(4)?.into()),
        0xde => (0, 2 * i64::from(length(2)?)),
        0xdf => (0, 2 * i64::from(length(4)?)),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;
    use serde_bytes::Bytes;

    use super::*;

    fn whole(value: &impl Serialize) {
        let bytes = rmp_serde::to_vec_named(value).expect("it is written");
        assert!(is_one_value(&bytes), "{bytes:02x?}");
        assert!(!is_one_value(&[&bytes[..], &[0]].concat()), "it goes on: {bytes:02x?}");
        for end in 0..bytes.len() {
            assert!(!is_one_value(&bytes[..end]), "{end} bytes of {bytes:02x?}");
        }
    }

    #[test]
    fn value_of_every_length_ends_where_it_says() {
        for length in [0, 1, 15, 16, 31, 32, 255, 256, 300] {
            whole(&"x".repeat(length));
            whole(&Bytes::new(&vec![0; length]));
            whole(&vec![7_u8; length]);
            whole(&(0..length).map(|number| (number, -1_i8)).collect::<BTreeMap<_, _>>());
        }
        whole(&(u8::MAX, u16::MAX, u32::MAX, u64::MAX, 0.5_f32, 0.5_f64, Some(()), true));
        whole(&(i8::MIN, i16::MIN, i32::MIN, i64::MIN, -1, [Some([1]), None]));
        let long = vec![1_u8; 70_000];
        for bytes in [rmp_serde::to_vec(&long), rmp_serde::to_vec(&"x".repeat(70_000))] {
            assert!(is_one_value(&bytes.expect("it is written")));
        }
    }

    #[test]
    fn announced_elements_are_there_or_it_is_a_lie() {
        for lie in
            [&[0xdd, 0xff, 0xff, 0xff, 0xff][..], &[0xdf, 0xff, 0xff, 0xff, 0xff, 0], &[0x92, 0x92, 0, 0], &[0xc1]]
        {
            assert!(!is_one_value(lie), "{lie:02x?}");
        }
        // Extensions, which no type of serde writes by itself.
        assert!(
            is_one_value(&[0xd4, 5, 0]) && is_one_value(&[0xc7, 2, 5, 0, 0]) && is_one_value(&[0xc9, 0, 0, 0, 1, 5, 0])
        );
    }
}
