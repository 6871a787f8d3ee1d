//! The whole system, from files and servers to answers: on the embedded pair, and on Kafka with a
//! CouchDB.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod apart;
mod bed;
mod gone;
mod harvest;
mod letters;
mod posts;
