//! Computed functions: written by the macro `#[computed]`, or by hand.

mod call;
mod declaration;
mod failure;
mod relation;

use std::future::Future;

use serde::{Serialize, de::DeserializeOwned};

pub use self::{
    call::Call,
    declaration::{Declaration, Refresh, Role},
    failure::{Failure, FunctionResult},
    relation::{IntoIds, Relation, RelationFuture},
};
pub(crate) use self::{
    call::Want,
    declaration::Callee,
    failure::{Outages, panic_text},
    relation::RawRelation,
};
use crate::Cx;

/// A function whose results are cached and kept up to date.
///
/// Usually written by `#[computed]`; by hand it is a type that names the function:
///
/// ```
/// use smache_core::{Call, Computed, Cx, Declaration, Failure};
///
/// struct Square;
///
/// impl Computed for Square {
///     type Args = (u64,);
///     type Output = u64;
///
///     fn declaration() -> Declaration {
///         Declaration::new("square")
///     }
///
///     async fn compute(_: &Cx, (n,): Self::Args) -> Result<u64, Failure> {
///         Ok(n * n)
///     }
/// }
///
/// let call = Call::<Square>::new((12,));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a computed function",
    label = "not a computed function",
    note = "write `#[smache::computed]` above the function, or implement `smache::Computed` by hand"
)]
pub trait Computed: Send + Sync + 'static {
    /// The arguments that make up the key. They travel to workers, so they must be equal after a round trip through
    /// serde.
    type Args: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// The result.
    type Output: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Its id, its version, and the sources that it reads.
    fn declaration() -> Declaration;

    /// Runs the function. The context tracks everything that it reads through `cx`.
    ///
    /// # Errors
    /// Anything that is an error: `?` works on the function's own errors and on the framework's.
    ///
    /// # Cancel safety
    /// The future is dropped when the run times out, loses its lease or its system shuts down.
    fn compute(cx: &Cx, args: Self::Args) -> impl Future<Output = Result<Self::Output, Failure>> + Send;
}
