//! Identities: of entries, functions, runs, epochs and servers.

use std::fmt;

use crate::{Error, ErrorKind, Result};

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// Bytes written as hexadecimal digits, shared by the identities below.
pub(crate) fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

macro_rules! byte_identity {
    ($(#[$doc:meta])* $name:ident, $len:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// The length in bytes.
            pub const LEN: usize = $len;

            /// From its bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// From a slice of exactly [`Self::LEN`] bytes.
            ///
            /// # Errors
            /// [`ErrorKind::Corrupt`] when the length is another.
            pub fn from_slice(bytes: &[u8]) -> Result<Self> {
                bytes.try_into().map(Self).map_err(|_| {
                    Error::new(
                        ErrorKind::Corrupt,
                        format!(concat!("a stored ", stringify!($name), " has {} bytes instead of {}"), bytes.len(), $len),
                    )
                })
            }

            /// Its bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

byte_identity! {
    /// A function in one shape: the hash of its id, version and declaration fingerprint.
    ///
    /// It is the first part of every [`EntryId`], so that a worker knows without a look-up whether its program has the
    /// function of a job.
    FunctionKey, 8
}

byte_identity! {
    /// The identity of an entry: the [`FunctionKey`] and a hash of the canonical call.
    EntryId, 24
}

byte_identity! {
    /// A unique token of one run or one reservation: a holder that has lost it may not write any more.
    Token, 16
}

byte_identity! {
    /// A random number that stands for one unbroken history. Values of another epoch are not fresh.
    Epoch, 16
}

/// The function of the entries that hold announcements. Other keys are hashes.
pub(crate) const ANNOUNCEMENTS: FunctionKey = FunctionKey::from_bytes(*b"~intent~");

impl EntryId {
    /// The function that the entry is of.
    #[must_use]
    pub fn function(&self) -> FunctionKey {
        let mut key = [0; FunctionKey::LEN];
        key.copy_from_slice(&self.0[..FunctionKey::LEN]);
        FunctionKey(key)
    }

    /// Whether it is no result but an announced change ([`Smache::intend`](crate::Smache::intend)): a store that
    /// removes entries to make room must keep it, since no run makes it again.
    #[must_use]
    pub fn is_announcement(&self) -> bool {
        self.function() == ANNOUNCEMENTS
    }

    /// The id made of a function and the hash of a canonical call.
    #[must_use]
    pub fn new(function: FunctionKey, call: [u8; 16]) -> Self {
        let mut id = [0; Self::LEN];
        id[..FunctionKey::LEN].copy_from_slice(&function.0);
        id[FunctionKey::LEN..].copy_from_slice(&call);
        Self(id)
    }
}

impl Token {
    /// A new token, unlike all others.
    #[must_use]
    pub fn random() -> Self {
        Self(random())
    }
}

impl Epoch {
    /// A new epoch.
    #[must_use]
    pub fn random() -> Self {
        Self(random())
    }
}

/// Which incarnation of which server a connection talks to. Another one may have lost the newest acknowledged writes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation(String);

impl Incarnation {
    /// An incarnation, by the server's name for it.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
