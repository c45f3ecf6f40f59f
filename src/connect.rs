//! Backends by their names and URLs, so that moving between them is one line, or none.

use std::{future::Future, pin::Pin, sync::Arc};

use smache_core::{Backend, Builder, Error, ErrorKind, Result};

/// Names the backend of a [`Builder`], and [`Builder::build`] connects it and returns its errors. Each backend is both,
/// store and queue, as with [`Builder::backend`].
///
/// ```
/// use smache::{Connect, Smache};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> smache::Result<()> {
/// let url = std::env::var("CACHE_URL").unwrap_or_else(|_| "memory:".to_owned());
/// let smache = Smache::builder("shop").url(url).build().await?;
/// # Ok(())
/// # }
/// ```
pub trait Connect: sealed::Sealed + Sized {
    /// This process: [`Memory`](crate::memory::Memory).
    #[cfg(feature = "memory")]
    #[must_use]
    fn memory(self) -> Self;

    /// A file of SQLite, which is created if it is missing: the durable backend that needs no server. Several processes
    /// may share it. As [`Sqlite::open`](crate::sqlite::Sqlite::open).
    #[cfg(feature = "sqlite")]
    #[must_use]
    fn sqlite(self, path: impl Into<std::path::PathBuf>) -> Self;

    /// A database of PostgreSQL. As [`Postgres::connect`](crate::postgres::Postgres::connect).
    #[cfg(feature = "postgres")]
    #[must_use]
    fn postgres(self, url: impl Into<String>) -> Self;

    /// A database of MongoDB, which the URL names. As [`Mongo::connect`](crate::mongo::Mongo::connect).
    #[cfg(feature = "mongo")]
    #[must_use]
    fn mongo(self, url: impl Into<String>) -> Self;

    /// A Redis. As [`Redis::connect`](crate::redis::Redis::connect).
    #[cfg(feature = "redis")]
    #[must_use]
    fn redis(self, url: impl Into<String>) -> Self;

    /// The backend that a URL names: as [`connect`].
    #[must_use]
    fn url(self, url: impl Into<String>) -> Self;
}

impl Connect for Builder {
    #[cfg(feature = "memory")]
    fn memory(self) -> Self {
        self.backend(crate::memory::Memory::new())
    }

    #[cfg(feature = "sqlite")]
    fn sqlite(self, path: impl Into<std::path::PathBuf>) -> Self {
        self.connect(crate::sqlite::Sqlite::open(path.into()))
    }

    #[cfg(feature = "postgres")]
    fn postgres(self, url: impl Into<String>) -> Self {
        self.connect(crate::postgres::Postgres::connect(url.into()))
    }

    #[cfg(feature = "mongo")]
    fn mongo(self, url: impl Into<String>) -> Self {
        self.connect(crate::mongo::Mongo::connect(url.into()))
    }

    #[cfg(feature = "redis")]
    fn redis(self, url: impl Into<String>) -> Self {
        self.connect(crate::redis::Redis::connect(url.into()))
    }

    fn url(self, url: impl Into<String>) -> Self {
        self.connect(connect(url.into()))
    }
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for smache_core::Builder {}
}

type Connecting = Pin<Box<dyn Future<Output = Result<Arc<dyn Backend>>> + Send>>;

/// A way from a URL to a backend; without one if this build lacks the backend.
struct Scheme {
    /// The beginnings of its URLs.
    names: &'static [&'static str],
    feature: &'static str,
    example: &'static str,
    connect: Option<fn(&str) -> Connecting>,
}

/// A scheme that this build has, or lacks.
macro_rules! scheme {
    ($feature:literal, $names:expr, $example:literal, $connect:expr) => {
        Scheme {
            names: $names,
            feature: $feature,
            example: $example,
            #[cfg(feature = $feature)]
            connect: Some($connect),
            #[cfg(not(feature = $feature))]
            connect: None,
        }
    };
}

const SCHEMES: [Scheme; 5] = [
    scheme!("memory", &["memory"], "memory:", |_| later(async { Ok(crate::memory::Memory::new()) })),
    scheme!("sqlite", &["sqlite"], "sqlite:app.db", |url| {
        let path = sqlite_path(url).map(str::to_owned);
        later(async { crate::sqlite::Sqlite::open(path?).await })
    }),
    scheme!("postgres", &["postgres", "postgresql"], "postgres://localhost/app", |url| {
        later(crate::postgres::Postgres::connect(String::from(url)))
    }),
    scheme!("mongo", &["mongodb", "mongodb+srv"], "mongodb://localhost/app", |url| {
        later(crate::mongo::Mongo::connect(String::from(url)))
    }),
    scheme!("redis", &["redis", "rediss", "unix", "redis+unix"], "redis://localhost", |url| {
        later(crate::redis::Redis::connect(String::from(url)))
    }),
];

#[cfg(any(feature = "memory", feature = "mongo", feature = "sqlite", feature = "postgres", feature = "redis"))]
fn later<B: Backend>(connecting: impl Future<Output = Result<B>> + Send + 'static) -> Connecting {
    Box::pin(async { Ok(Arc::new(connecting.await?) as Arc<dyn Backend>) })
}

/// The file of `sqlite:app.db`, `sqlite://app.db` or `sqlite:///var/lib/app.db`.
#[cfg(feature = "sqlite")]
fn sqlite_path(url: &str) -> Result<&str> {
    let path = url.strip_prefix("sqlite:").unwrap_or(url);
    let path = path.strip_prefix("//").unwrap_or(path);
    let wrong = if path.is_empty() {
        "it names no file: use one such as `sqlite:app.db`"
    } else if path.contains(['?', '#']) {
        "a file has no options in its URL: leave them out, or use `Sqlite::builder`"
    } else {
        return Ok(path);
    };
    Err(Error::new(ErrorKind::Config, format!("the URL of the SQLite file is not valid: {wrong}")))
}

/// Connects to the backend that a URL names, for a program whose configuration says where its cache is: `memory:`,
/// `sqlite:app.db`, `postgres://…`, `mongodb://…`, `redis://…`. In any role, for [`Builder::backend`],
/// [`Builder::store`] or [`Builder::queue`].
///
/// # Errors
/// [`ErrorKind::Config`]: no such scheme, or one whose feature is not enabled. The errors of the backend's `connect`.
///
/// # Cancel safety
/// May be dropped at any await point.
pub async fn connect(url: impl AsRef<str>) -> Result<Arc<dyn Backend>> {
    let url = url.as_ref();
    // An error repeats only the scheme, if it is one: the rest may hold a password.
    let is_scheme = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let named = url.split_once(':').map(|(name, _)| name).filter(is_scheme).unwrap_or_default();
    let Some(scheme) = SCHEMES.iter().find(|scheme| scheme.names.contains(&named)) else {
        let examples = SCHEMES.map(|scheme| format!("`{}`", scheme.example)).join(", ");
        let message = format!("the URL of the backend has the unknown scheme `{named}`: use one such as {examples}");
        return Err(Error::new(ErrorKind::Config, message));
    };
    match scheme.connect {
        Some(connect) => connect(url).await,
        None => {
            let name = scheme.names[0];
            let feature = scheme.feature;
            let message = format!(
                "this program was built without the backend of `{name}:` URLs: enable the feature `{feature}` of `smache`"
            );
            Err(Error::new(ErrorKind::Config, message))
        }
    }
}
