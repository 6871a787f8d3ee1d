//! The command as people meet it: what it says, where, and how it exits. The real binary, on the
//! embedded parts.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod archives;
mod aurin;
mod compliance;
mod configuration;
mod dead_letters;
mod generations;
mod harness;
mod rules;
mod secrets;
mod services;
mod work;
