//! Docs, visibility and attributes are kept, under the lints of a strict crate.

#![deny(warnings, missing_docs, unreachable_pub, unused_qualifications, missing_debug_implementations)]

/// A module whose functions are used from outside.
pub mod reports {
    use smache::computed;

    /// Counts, and says so at length.
    ///
    /// # Errors
    /// Never.
    #[computed]
    #[doc(alias = "tally")]
    #[expect(unused_mut, reason = "shows that lint levels reach the body")]
    #[inline]
    pub async fn count(mut n: u8) -> Result<u8, std::io::Error> {
        Ok(n)
    }

    #[computed]
    pub(crate) async fn in_the_crate() {}

    #[computed]
    pub(super) async fn in_the_parent() {}

    #[computed]
    async fn private() {}

    /// The old count.
    #[deprecated(note = "use `count`")]
    #[computed]
    pub async fn old_count() -> u8 {
        1
    }

    /// Uses what is private.
    pub fn both() {
        let _ = private();
        let _ = in_the_parent();
        let _ = r#type(1);
    }

    /// One of two.
    #[computed]
    #[cfg(unix)]
    pub async fn system() -> String {
        "unix".to_owned()
    }

    /// One of two.
    #[computed]
    #[cfg(not(unix))]
    pub async fn system() -> String {
        "other".to_owned()
    }

    /// Does not exist, and neither does anything that is made of it.
    #[computed]
    #[cfg(any())]
    pub async fn nowhere(user: Missing) -> Missing {
        missing()
    }

    #[computed]
    #[cfg_attr(all(), allow(unused_variables), doc(hidden))]
    pub(crate) async fn r#type(r#struct: u8) {}
}

fn main() {
    let _: smache::Call<reports::count> = reports::count(1);
    let _ = reports::in_the_crate();
    let _ = reports::system();
    reports::both();
}
