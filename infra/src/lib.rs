//! Runs the pipeline: its configuration, the health and metrics of its roles, the lag dashboard.
//!
//! This crate builds no part of the pipeline; the `bowerbird` command (`infra/cli`) does, and it
//! alone reads the environment and installs telemetry.

pub mod admin;
pub mod config;
pub mod dashboard;
pub mod error;
mod server;

pub use error::InfraError;
