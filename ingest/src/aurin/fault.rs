//! What a WFS does wrong.

use std::time::Duration;

use bowerbird_stream::retry::Verdict;
use thiserror::Error;

/// Why a request gave nothing, or a poll is not whole. The text says what to do; it never holds a
/// secret.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Fault {
    /// 401.
    #[error(
        "the WFS refuses the credentials (401): AURIN's passwords expire after 90 days; make a new \
         one at https://adp-access.aurin.org.au, then set aurin.user and aurin.password"
    )]
    Unauthorised,
    /// 401 of another server, to which the WFS sent the request on.
    #[error(
        "the WFS sends the request on to {0}, which asks for credentials (401); they are given to \
         the host of aurin.base_url only: set aurin.base_url to that address if it is the WFS"
    )]
    SentOn(String),
    /// 403, and nothing said of why.
    #[error("these credentials may not read it (403): ask AURIN for access to this data set")]
    Forbidden,
    /// Another status than 200, with an exception that says why.
    #[error("the WFS refuses the request ({status}): {said}")]
    Refused {
        /// The status.
        status: u16,
        /// What it says.
        said: String,
    },
    /// The type is not in the capabilities.
    #[error(
        "the WFS has no type {type_name}: check aurin.datasets against its capabilities{nearest}"
    )]
    MissingType {
        /// What was asked for.
        type_name: String,
        /// A name that is there and much like it, for the text.
        nearest: String,
    },
    /// The type has no such property.
    #[error(
        "{type_name} has no property {property}: set aurin.datasets id_property to one of {there}"
    )]
    MissingProperty {
        /// The type.
        type_name: String,
        /// What was asked for.
        property: String,
        /// What there is.
        there: String,
    },
    /// Positions that are not longitude and latitude.
    #[error("the WFS gives {0} where GeoJSON has longitude before latitude, in degrees")]
    Axes(String),
    /// An exception report under status 200.
    #[error("the WFS answers with an exception: {code}: {text}")]
    Exception {
        /// Its code.
        code: String,
        /// What it says.
        text: String,
    },
    /// A page for people, where data should be.
    #[error("the WFS answers with {0} instead of data: is aurin.base_url right?")]
    NotData(String),
    /// The body is no GeoJSON feature collection.
    #[error("the WFS's answer is no GeoJSON feature collection: {0}")]
    Malformed(String),
    /// The body ends too early.
    #[error("the WFS's answer ends in the middle, after {0} features")]
    Truncated(u64),
    /// 404 or 410, and nothing said of why.
    #[error("there is no WFS at this address ({0}): is aurin.base_url right?")]
    Nowhere(u16),
    /// Another status.
    #[error("the WFS answers with status {0}")]
    Http(u16),
    /// What may pass, and when to come back.
    #[error("{fault}; it asks to be left alone for {after:?}")]
    Busy {
        /// What it answers.
        fault: Box<Fault>,
        /// How long it wants to be left alone.
        after: Duration,
    },
    /// No connection, or it broke.
    #[error("the WFS can't be reached: {0}")]
    Network(String),
}

impl Fault {
    /// Whether the same request may be answered later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Network(_) | Self::Truncated(_) | Self::NotData(_) | Self::Busy { .. } => true,
            Self::Http(status) | Self::Refused { status, .. } => *status == 429 || *status >= 500,
            // What the server could not do, not what it did not understand.
            Self::Exception { code, .. } => {
                matches!(code.as_str(), "NoApplicableCode" | "OperationProcessingFailed")
            }
            _ => false,
        }
    }

    /// What to do after it.
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Busy { after, .. } => Verdict::Again { after: Some(*after) },
            _ if self.is_transient() => Verdict::Again { after: None },
            _ => Verdict::GiveUp,
        }
    }
}
