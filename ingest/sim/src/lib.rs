//! Simulators of the X filtered stream and of a WFS, as real HTTP servers on loopback: for
//! `bowerbird up` without credentials, to try things on, and for tests.
//!
//! What they tell is made up from a seed: no post, person or figure in it is real.

mod server;
pub mod wfs;
pub mod x;

pub use server::{Running, SimError};
