//! What a sink did, for people.

use serde::Serialize;

use super::writer::Settled;

/// What a sink did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SinkReport {
    /// Records settled.
    pub records: u64,
    /// Documents written.
    pub written: u64,
    /// Entities for which the store already said all.
    pub unchanged: u64,
    /// Records given up, each with its dead letter.
    pub dead_letters: u64,
}

impl SinkReport {
    pub(super) fn add(&mut self, settled: &Settled) {
        self.records += settled.positions.len() as u64;
        self.written += settled.written;
        self.unchanged += settled.unchanged;
        self.dead_letters += settled.dead_letters;
    }
}

impl std::ops::AddAssign for SinkReport {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.written += other.written;
        self.unchanged += other.unchanged;
        self.dead_letters += other.dead_letters;
    }
}
