//! The cursor over the bytes that values are read from: bounds, lengths, depth and canonical form.

use super::{DecodeError, DecodeReason, Integers, MAX_DEPTH, tag};

pub(super) type Result<T> = std::result::Result<T, DecodeError>;

/// Reads values off a slice.
#[derive(Debug)]
pub(super) struct Decoder<'de> {
    pub(super) input: &'de [u8],
    /// Always `at <= input.len()`.
    pub(super) at: usize,
    pub(super) integers: Integers,
    depth: usize,
}

/// An integer in its written form.
#[derive(Debug, Clone, Copy)]
pub(super) enum Integer {
    /// By a type without a sign.
    Unsigned(u128),
    /// By a type with a sign.
    Signed(i128),
}

impl<'de> Decoder<'de> {
    pub(super) fn new(input: &'de [u8], integers: Integers) -> Self {
        Self { input, at: 0, integers, depth: 0 }
    }

    pub(super) fn finish(self) -> Result<()> {
        if self.at < self.input.len() {
            return Err(self.error(DecodeReason::Trailing));
        }
        Ok(())
    }

    /// Adds the place where decoding stopped to an error that came from outside a value.
    pub(super) fn locate(&self, error: DecodeError) -> DecodeError {
        error.or_at(self.at)
    }

    pub(super) fn error(&self, reason: DecodeReason) -> DecodeError {
        DecodeError::new(reason, self.at)
    }

    pub(super) fn peek(&self) -> Result<u8> {
        let next = self.input.get(self.at).copied();
        next.ok_or_else(|| self.error(DecodeReason::Truncated))
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    pub(super) fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let next = self.input[self.at..].first_chunk().copied();
        let content = next.ok_or_else(|| self.error(DecodeReason::Truncated))?;
        self.at += N;
        Ok(content)
    }

    fn length(&mut self) -> Result<usize> {
        let start = self.at;
        let mut length = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            length |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    let reason = DecodeReason::NotCanonical("a length is not in its shortest form");
                    return Err(DecodeError::new(reason, start));
                }
                // A length that does not fit the machine is longer than any input on it.
                return usize::try_from(length).map_err(|_| self.error(DecodeReason::Truncated));
            }
        }
        Err(DecodeError::new(DecodeReason::NotCanonical("a length has more than 64 bits"), start))
    }

    pub(super) fn counted(&mut self) -> Result<&'de [u8]> {
        let length = self.length()?;
        let input = self.input;
        let content = input[self.at..].get(..length).ok_or_else(|| self.error(DecodeReason::Truncated))?;
        self.at += length;
        Ok(content)
    }

    pub(super) fn text(&mut self) -> Result<&'de str> {
        let start = self.at;
        str::from_utf8(self.counted()?).map_err(|_| DecodeError::new(DecodeReason::NotUtf8, start))
    }

    pub(super) fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == MAX_DEPTH {
            return Err(self.error(DecodeReason::TooDeep));
        }
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    /// Skips the next value. By tags rather than by serde's `IgnoredAny`, which takes no 128-bit integers.
    pub(super) fn skip(&mut self) -> Result<()> {
        let all = |decoder: &mut Self| {
            while !decoder.ended()? {
                decoder.skip()?;
            }
            Ok(())
        };
        let start = self.at;
        match self.byte()? {
            tag::UNIT | tag::FALSE | tag::TRUE | tag::NONE => Ok(()),
            tag::U8 | tag::I8 => self.fixed::<1>().map(drop),
            tag::U16 | tag::I16 => self.fixed::<2>().map(drop),
            tag::U32 | tag::I32 | tag::F32 | tag::CHAR => self.fixed::<4>().map(drop),
            tag::U64 | tag::I64 | tag::F64 => self.fixed::<8>().map(drop),
            tag::U128 | tag::I128 => self.fixed::<16>().map(drop),
            tag::STR | tag::BYTES | tag::UNIT_VARIANT => self.counted().map(drop),
            tag::SOME => self.nested(Self::skip),
            tag::SEQ | tag::TUPLE | tag::MAP | tag::STRUCT => self.nested(all),
            tag::NEWTYPE_VARIANT => self.counted().and_then(|_| self.nested(Self::skip)),
            tag::TUPLE_VARIANT | tag::STRUCT_VARIANT => self.counted().and_then(|_| self.nested(all)),
            unknown => Err(DecodeError::new(DecodeReason::Tag(unknown), start)),
        }
    }

    /// The integer behind a tag, if it is the tag of one.
    pub(super) fn tagged(&mut self, tag: u8) -> Result<Option<Integer>> {
        use Integer::{Signed, Unsigned};
        let start = self.at - 1;
        let integer = match tag {
            tag::U8 => Unsigned(u8::from_be_bytes(self.fixed()?).into()),
            tag::U16 => Unsigned(u16::from_be_bytes(self.fixed()?).into()),
            tag::U32 => Unsigned(u32::from_be_bytes(self.fixed()?).into()),
            tag::U64 => Unsigned(u64::from_be_bytes(self.fixed()?).into()),
            tag::U128 => Unsigned(u128::from_be_bytes(self.fixed()?)),
            tag::I8 => Signed(i8::from_be_bytes(self.fixed()?).into()),
            tag::I16 => Signed(i16::from_be_bytes(self.fixed()?).into()),
            tag::I32 => Signed(i32::from_be_bytes(self.fixed()?).into()),
            tag::I64 => Signed(i64::from_be_bytes(self.fixed()?).into()),
            tag::I128 => Signed(i128::from_be_bytes(self.fixed()?)),
            _ => return Ok(None),
        };
        if self.integers == Integers::ByValue && !integer.is_shortest(tag) {
            let reason = DecodeReason::NotCanonical("an integer is not in its shortest form");
            return Err(DecodeError::new(reason, start));
        }
        Ok(Some(integer))
    }

    /// The next value as an integer of the wanted type, or nothing (and nothing consumed) if it is not one.
    pub(super) fn integer<T: TryFrom<u128> + TryFrom<i128>>(&mut self) -> Result<Option<T>> {
        let start = self.at;
        let tag = self.byte()?;
        let integer = match self.tagged(tag)? {
            Some(Integer::Unsigned(value)) => T::try_from(value).ok(),
            Some(Integer::Signed(value)) => T::try_from(value).ok(),
            None => None,
        };
        if integer.is_none() {
            self.at = start;
        }
        Ok(integer)
    }

    /// Refuses the floats that the encoder does not write.
    pub(super) fn float<T: Copy + Into<f64>>(&self, value: T) -> Result<T> {
        let wide = value.into();
        if wide.is_nan() {
            return Err(self.error(DecodeReason::NotCanonical("a float is not a number")));
        }
        if wide == 0.0 && wide.is_sign_negative() {
            return Err(self.error(DecodeReason::NotCanonical("a float is a negative zero")));
        }
        Ok(value)
    }

    /// Makes sure that a visitor has read all, since the visitors of most tuples do not ask for the end.
    pub(super) fn close(&mut self, closed: bool) -> Result<()> {
        if closed || self.ended()? {
            return Ok(());
        }
        Err(self.error(DecodeReason::Unread))
    }

    pub(super) fn ended(&mut self) -> Result<bool> {
        let ended = self.peek()? == tag::END;
        self.at += usize::from(ended);
        Ok(ended)
    }
}

impl Integer {
    /// Whether a tag is the one for the value.
    fn is_shortest(self, tag: u8) -> bool {
        let fewer = |least: u8, tag: u8, fits: [bool; 4]| {
            fits.into_iter().zip(least..).find(|(fits, _)| *fits).map_or(least + 4, |(_, tag)| tag) == tag
        };
        match self {
            Self::Unsigned(value) => {
                let fits =
                    [u8::MAX.into(), u16::MAX.into(), u32::MAX.into(), u64::MAX.into()].map(|most| value <= most);
                fewer(tag::U8, tag, fits)
            }
            Self::Signed(value) => {
                let fits =
                    [i8::MIN.into(), i16::MIN.into(), i32::MIN.into(), i64::MIN.into()].map(|least| value >= least);
                value < 0 && fewer(tag::I8, tag, fits)
            }
        }
    }
}
