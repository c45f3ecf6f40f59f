//! Reading answers by hand: look-ups are too frequent for a generic decoder.

use std::vec;

use redis::Value;
use smache_core::{Error, Result, Timestamp};

use crate::error::unexpected;

/// The elements of a script's answer, in order. Each reader names the operation when an element has another type.
#[derive(Debug)]
pub(crate) struct Reply {
    operation: &'static str,
    values: vec::IntoIter<Value>,
}

impl Reply {
    /// An answer with elements.
    pub(crate) fn new(operation: &'static str, value: Value) -> Result<Self> {
        match value {
            Value::Array(values) => Ok(Self { operation, values: values.into_iter() }),
            _ => Err(unexpected(operation)),
        }
    }

    pub(crate) fn unexpected(&self) -> Error {
        unexpected(self.operation)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.len() == 0
    }

    pub(crate) fn value(&mut self) -> Result<Value> {
        self.values.next().ok_or_else(|| self.unexpected())
    }

    pub(crate) fn list(&mut self) -> Result<Self> {
        Self::new(self.operation, self.value()?)
    }

    pub(crate) fn number(&mut self) -> Result<u64> {
        let value = self.value()?;
        number(&value).ok_or_else(|| self.unexpected())
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp> {
        self.number().map(Timestamp::from_millis)
    }

    pub(crate) fn bytes(&mut self) -> Result<Vec<u8>> {
        let value = self.value()?;
        bytes(value).ok_or_else(|| self.unexpected())
    }

    /// Bytes, or `None` where the script had none.
    pub(crate) fn maybe_bytes(&mut self) -> Result<Option<Vec<u8>>> {
        match self.value()? {
            Value::Nil => Ok(None),
            value => bytes(value).map(Some).ok_or_else(|| self.unexpected()),
        }
    }
}

impl Iterator for Reply {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        self.values.next()
    }
}

/// The bytes of a string.
pub(crate) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

/// The bytes of an answer that is a list of fields and values, in either protocol.
pub(crate) fn fields(value: Value) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    match value {
        Value::Map(pairs) => pairs.into_iter().map(|(name, value)| Some((bytes(name)?, bytes(value)?))).collect(),
        Value::Array(values) => {
            let mut values = values.into_iter();
            let mut fields = Vec::with_capacity(values.len() / 2);
            while let Some(name) = values.next() {
                fields.push((bytes(name)?, bytes(values.next()?)?));
            }
            Some(fields)
        }
        _ => None,
    }
}

/// A number that is not negative, possibly written as a string.
pub(crate) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}

/// The server's time, from the answer to `TIME`.
pub(crate) fn time(value: Value) -> Option<Timestamp> {
    let Value::Array(parts) = value else { return None };
    let [seconds, micros] = parts.as_slice() else { return None };
    Some(Timestamp::from_millis(number(seconds)?.saturating_mul(1_000).saturating_add(number(micros)? / 1_000)))
}
