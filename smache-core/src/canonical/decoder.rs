//! The cursor over the bytes that values are read from: bounds, lengths, depth and what is canonical.

use super::{DecodeError, DecodeReason, MAX_DEPTH, tag};

pub(super) type Result<T> = std::result::Result<T, DecodeError>;

/// Reads values off a slice.
#[derive(Debug)]
pub(super) struct Decoder<'de> {
    pub(super) input: &'de [u8],
    /// `at <= input.len()` holds always.
    pub(super) at: usize,
    depth: usize,
}

impl<'de> Decoder<'de> {
    pub(super) fn new(input: &'de [u8]) -> Self {
        Self { input, at: 0, depth: 0 }
    }

    pub(super) fn finish(self) -> Result<()> {
        if self.at < self.input.len() {
            return Err(self.error(DecodeReason::Trailing));
        }
        Ok(())
    }

    /// Gives an error that came from outside a value the place where decoding stopped.
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

    /// Passes over the next value. By tags rather than by serde's `IgnoredAny`, which takes no 128-bit integers.
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

    /// The next value as an integer of the wanted type, or nothing (and nothing consumed) if it is not one.
    pub(super) fn integer<T: TryFrom<u128> + TryFrom<i128>>(&mut self) -> Result<Option<T>> {
        let start = self.at;
        let integer = match self.byte()? {
            tag::U8 => T::try_from(u128::from(u8::from_be_bytes(self.fixed()?))).ok(),
            tag::U16 => T::try_from(u128::from(u16::from_be_bytes(self.fixed()?))).ok(),
            tag::U32 => T::try_from(u128::from(u32::from_be_bytes(self.fixed()?))).ok(),
            tag::U64 => T::try_from(u128::from(u64::from_be_bytes(self.fixed()?))).ok(),
            tag::U128 => T::try_from(u128::from_be_bytes(self.fixed()?)).ok(),
            tag::I8 => T::try_from(i128::from(i8::from_be_bytes(self.fixed()?))).ok(),
            tag::I16 => T::try_from(i128::from(i16::from_be_bytes(self.fixed()?))).ok(),
            tag::I32 => T::try_from(i128::from(i32::from_be_bytes(self.fixed()?))).ok(),
            tag::I64 => T::try_from(i128::from(i64::from_be_bytes(self.fixed()?))).ok(),
            tag::I128 => T::try_from(i128::from_be_bytes(self.fixed()?)).ok(),
            _ => None,
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

    /// Makes sure that a visitor has read all, which most tuples' visitors do without asking for the end.
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
