//! What the store's proxy does to requests.

/// How the way to the store is for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Everything passes.
    Calm,
    /// Nobody listens.
    Refuse,
    /// Connections are reset while the request is being sent: nothing reaches the store.
    ResetRequest,
    /// The store has done it, and the connection is reset in the midst of its answer.
    ResetAnswer,
    /// The store has done it, and the connection is closed without an answer.
    LoseAnswer,
    /// The store has done it, and the answer comes later than anybody waits.
    Silence,
    /// Every request waits a while.
    Delay,
    /// Answers come in drops.
    Trickle,
    /// 500, and nothing was done.
    Fail,
    /// 500, but it was done.
    FailAfter,
    /// 429 or 503 with Retry-After.
    Busy,
    /// What a gateway says while the store behind it restarts: 400, 404 and 502 in HTML.
    Gateway,
    /// Every request reaches the store twice.
    Twice,
    /// Some rows of a bulk answer say that they failed, but they were written.
    Rows,
    /// 401 for everything.
    Unauthorised,
    /// The store's disk is full.
    Full,
}

impl Mood {
    /// How many requests of a hundred it strikes.
    pub fn strikes(self) -> u64 {
        match self {
            Self::Calm => 0,
            Self::Refuse | Self::Unauthorised | Self::Full | Self::Twice => 100,
            Self::Delay | Self::Trickle => 80,
            Self::Silence => 40,
            _ => 60,
        }
    }
}
