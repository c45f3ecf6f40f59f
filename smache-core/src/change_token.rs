//! Proof of an acknowledged change, which may travel as text.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Epoch, Error, ErrorKind, Incarnation, Namespace};

/// Proof of an acknowledged change, for [`Call::at_least`](crate::Call::at_least): a request reads its own writes.
///
/// It may travel, for example in a header or a cookie, to the process that handles the next request: it prints as a
/// short text of letters, digits and `-`, and parses from it. A verb of another namespace refuses it. In a store that
/// was replaced, emptied or invalidated as a whole since then it proves nothing by itself, and a reader with it gets a
/// fresh value, as by [`Call::fresh`](crate::Call::fresh).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ChangeToken {
    revision: u64,
    namespace: u64,
    generation: StoreGeneration,
}

/// The scope of a revision: an incarnation of a store and an epoch of the namespace, as one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct StoreGeneration(u64);

impl StoreGeneration {
    pub(crate) fn new(incarnation: &Incarnation, epoch: &Epoch) -> Self {
        Self(digest(&[incarnation.as_str().as_bytes(), epoch.as_bytes()]))
    }
}

impl ChangeToken {
    pub(crate) fn new(namespace: &Namespace, generation: StoreGeneration, revision: u64) -> Self {
        Self { revision, namespace: digest(&[namespace.as_str().as_bytes()]), generation }
    }

    pub(crate) fn is_of(&self, namespace: &Namespace) -> bool {
        self.namespace == digest(&[namespace.as_str().as_bytes()])
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The revision, in a generation of the store in which it counts.
    pub(crate) fn revision_in(&self, generation: StoreGeneration) -> Option<u64> {
        (self.generation == generation).then_some(self.revision)
    }

    /// A token that proves both changes; `None` where one revision cannot.
    pub(crate) fn and(self, other: Self) -> Option<Self> {
        let comparable = self.namespace == other.namespace && self.generation == other.generation;
        comparable.then(|| Self { revision: self.revision.max(other.revision), ..self })
    }
}

/// A few bytes of a hash: equal for different parts by chance alone, in one of 2⁶⁴ cases.
fn digest(parts: &[&[u8]]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

impl fmt::Display for ChangeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:016x}-{:016x}", self.revision, self.namespace, self.generation.0)
    }
}

impl FromStr for ChangeToken {
    type Err = Error;

    /// # Errors
    /// [`ErrorKind::Argument`] for a text that is no token.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = text.split('-').map(|part| u64::from_str_radix(part, 16).ok());
        if let (Some(Some(revision)), Some(Some(namespace)), Some(Some(generation)), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        {
            let token = Self { revision, namespace, generation: StoreGeneration(generation) };
            // One text per token: neither signs nor leading zeros nor capitals.
            if token.to_string() == text {
                return Ok(token);
            }
        }
        let fix = "read without it, or with `.fresh()`";
        Err(Error::new(ErrorKind::Argument, format!("the text is not a token of a change: {fix}")))
    }
}

impl From<ChangeToken> for String {
    fn from(token: ChangeToken) -> Self {
        token.to_string()
    }
}

impl TryFrom<String> for ChangeToken {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(namespace: &str, incarnation: &str, revision: u64) -> ChangeToken {
        let generation = StoreGeneration::new(&Incarnation::new(incarnation), &Epoch::from_bytes([7; 16]));
        ChangeToken::new(&Namespace::new(namespace).expect("a good name"), generation, revision)
    }

    #[test]
    fn a_token_survives_a_header() {
        for revision in [0, 1, 255, u64::MAX] {
            let token = token("shop", "one", revision);
            let text = token.to_string();
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{text}");
            assert_eq!(text.parse::<ChangeToken>().expect("a token"), token);
            let json = serde_json::to_string(&token).expect("a text");
            assert_eq!(serde_json::from_str::<ChangeToken>(&json).expect("a token"), token);
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let good = token("shop", "one", 10).to_string();
        let capitals = good.to_uppercase();
        let zero = format!("0{good}");
        let plus = format!("+{good}");
        let longer = format!("{good}-0");
        for text in ["", "-", "--", "a-b-c", "7", &good[1..], &good[..good.len() - 1], &capitals, &zero, &plus, &longer]
        {
            assert_eq!(text.parse::<ChangeToken>().expect_err(text).kind(), ErrorKind::Argument);
        }
    }

    #[test]
    fn a_revision_counts_in_one_generation_and_one_namespace() {
        let (one, later, other) = (token("shop", "one", 3), token("shop", "one", 5), token("shop", "two", 9));
        assert_eq!(one.and(later), Some(later));
        assert_eq!(one.and(other), None);
        assert_eq!(one.revision_in(other.generation), None);
        assert_eq!(one.revision_in(one.generation), Some(3));
        assert!(one.is_of(&Namespace::new("shop").expect("a good name")));
        assert!(!one.is_of(&Namespace::new("shop2").expect("a good name")));
    }
}
