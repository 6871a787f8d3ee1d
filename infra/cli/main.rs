//! The `bowerbird` command.
fn main() {}
