//! The validity: scripts write it, this module reads it.

use std::sync::{Arc, Mutex, PoisonError};

use redis::Value;
use smache_core::{
    Epoch, Incarnation, Result, SourceId, SourceValidity, Timestamp, Validity, support::log_damaged_epoch,
};

use crate::error::corrupt;

/// The last validity, encoded and decoded: it changes with a feed's heartbeat, and every look-up reads it.
#[derive(Debug, Default)]
pub(super) struct ValidityCache(Mutex<Option<(Value, Arc<Validity>)>>);

impl ValidityCache {
    pub(super) fn read(&self, value: Value, key: &str) -> Result<Arc<Validity>> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((bytes, validity)) = &*last
            && *bytes == value
        {
            return Ok(validity.clone());
        }
        let unreadable =
            || corrupt("the epochs cannot be read: remove the key with `DEL`, and all is computed again", key);
        let validity = Arc::new(parse(&value, key).ok_or_else(unreadable)?);
        *last = Some((value, validity.clone()));
        Ok(validity)
    }
}

/// An empty namespace has no epoch yet. No real epoch is all zeros, so nothing is fresh in that one.
///
/// An unreadable field confirms nothing, and maintenance replaces it.
pub(super) fn parse(value: &Value, key: &str) -> Option<Validity> {
    let mut validity = Validity::new(Epoch::from_bytes([0; Epoch::LEN]));
    // Without the field the attached sources confirm nothing yet.
    validity.attached_until = Some(Timestamp::default());
    let mut read = |name: &[u8], value: &[u8]| match name {
        b"a" => {
            validity.attached_until = Some(Timestamp::from_millis(u64::from_be_bytes(value.try_into().ok()?)));
            Some(())
        }
        b"e" => {
            validity.epoch = Epoch::from_slice(value).ok()?;
            Some(())
        }
        name => {
            let source = SourceId::new(std::str::from_utf8(name.strip_prefix(b"s:")?).ok()?).ok()?;
            validity.sources.insert(source, parse_source(value)?);
            Some(())
        }
    };
    let mut field = |name: &[u8], value: &[u8]| {
        if read(name, value).is_none() {
            log_damaged_epoch(format_args!("{key}, field {}", name.escape_ascii()));
        }
    };
    match value {
        // Scripts return lists, and so does a server with the older protocol.
        Value::Array(values) => {
            for pair in values.chunks(2) {
                let [Value::BulkString(name), Value::BulkString(value)] = pair else { return None };
                field(name, value);
            }
        }
        Value::Map(pairs) => {
            for pair in pairs {
                let (Value::BulkString(name), Value::BulkString(value)) = pair else { return None };
                field(name, value);
            }
        }
        _ => return None,
    }
    Some(validity)
}

fn parse_source(bytes: &[u8]) -> Option<SourceValidity> {
    let (epoch, rest) = bytes.split_at_checked(Epoch::LEN)?;
    let (kind, rest) = rest.split_first()?;
    let (valid_until, caught_up_on) = rest.split_first_chunk()?;
    let epoch = Epoch::from_slice(epoch).ok()?;
    let caught_up_on = std::str::from_utf8(caught_up_on).ok()?;
    let caught_up_on = (!caught_up_on.is_empty()).then(|| Incarnation::new(caught_up_on));
    match kind {
        b'a' => Some(SourceValidity::application(epoch, caught_up_on)),
        b'f' => {
            let valid_until = Timestamp::from_millis(u64::from_be_bytes(*valid_until));
            Some(SourceValidity::feed(epoch, caught_up_on, valid_until))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str) -> SourceId {
        SourceId::new(name).expect("a good name")
    }

    #[test]
    fn a_validity_is_the_same_in_both_protocols() {
        let text = |text: &[u8]| Value::BulkString(text.to_vec());
        let mut lent = vec![7; 16];
        lent.extend(b"f\0\0\0\0\0\0\x07\xd0run/history");
        let name = text(b"s:users");
        let epoch = text(&[9; 16]);
        let list = Value::Array(vec![text(b"e"), epoch.clone(), name.clone(), text(&lent)]);
        let map = Value::Map(vec![(text(b"e"), epoch), (name, text(&lent))]);
        let validity = parse(&list, "{ns}:v").expect("a validity");
        assert_eq!(Some(&validity), parse(&map, "{ns}:v").as_ref());
        let feed = SourceValidity::feed(
            Epoch::from_bytes([7; 16]),
            Some(Incarnation::new("run/history")),
            Timestamp::from_millis(2_000),
        );
        assert_eq!(validity.sources[&source("users")], feed);
    }

    #[test]
    fn what_is_not_a_validity_is_refused() {
        let text = |text: &[u8]| Value::BulkString(text.to_vec());
        for bad in [
            Value::Array(vec![text(b"e"), text(b"short")]),
            Value::Array(vec![text(b"x"), text(&[0; 16])]),
            Value::Array(vec![text(b"s:users"), text(&[0; 20])]),
        ] {
            let validity = ValidityCache::default().read(bad, "{ns}:v").expect("of what can be read");
            assert!(validity.epoch == Epoch::from_bytes([0; Epoch::LEN]) && validity.sources.is_empty());
        }
        for bad in [Value::Array(vec![text(b"e")]), Value::Okay] {
            let error = ValidityCache::default().read(bad, "{ns}:v").expect_err("not a validity");
            assert_eq!(error.kind(), smache_core::ErrorKind::Corrupt);
            assert!(error.to_string().contains("{ns}:v"), "{error}");
        }
    }
}
