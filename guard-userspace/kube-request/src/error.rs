//! Why a request has no description.

use thiserror::Error;

/// Why a request cannot be described, and so must not be forwarded. The message is for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum DescribeError {
    /// No method that the API server serves at a path.
    #[error("the method is no HTTP method for a resource")]
    Method,
    /// Longer than [`crate::MAX_TARGET_LEN`].
    #[error("the path and query are longer than {} bytes", crate::MAX_TARGET_LEN)]
    TooLong,
    /// Not in origin form (RFC 9112, 3.2.1).
    #[error("the request target does not begin with '/'")]
    NotOriginForm,
    /// A byte that has no place in a request target.
    #[error("the request target holds a control character, a space or '#'; percent-encode it")]
    ForbiddenCharacter,
    /// `%` without two hexadecimal digits. The API server refuses it in a path, and drops the parameter that has it.
    #[error("the request target has a '%' without two hexadecimal digits; a '%' itself is written %25")]
    PercentEncoding,
    /// Percent-decoding gives bytes that are no text, or NUL.
    #[error("percent-decoding the request target does not give UTF-8 text without NUL")]
    NotText,
    /// `.` or `..` as a path segment, encoded or not: who resolves it sees another path.
    #[error("the path has a segment '.' or '..'; send the path that is meant")]
    DotSegment,
    /// Old servers take `;` for `&`, new ones drop the parameter.
    #[error("the query has a ';'; write it as %3B in a value, or '&' between parameters")]
    Semicolon,
    /// More than the API server would read.
    #[error("the query has too many parameters")]
    TooManyParameters,
    /// `/api/v1/watch` and `/api/v1/proxy` without anything behind: the API server cannot tell what is meant.
    #[error("the path names no resource after 'watch' or 'proxy'")]
    NoResource,
}
