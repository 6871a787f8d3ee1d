//! Progress on stderr, where it is a terminal; nothing elsewhere.

use indicatif::{ProgressBar, ProgressStyle};

use crate::telemetry::SCREEN;

/// A bar over bytes with a message, a rate and the time left; its length may be told later.
pub fn bytes() -> ProgressBar {
    let template = "{wide_bar} {bytes}/{total_bytes}  {msg}  {bytes_per_sec}  {eta} left";
    SCREEN.add(ProgressBar::no_length().with_style(style(template)))
}

/// A bar over a part of something that may grow meanwhile.
pub fn portion(what: &'static str) -> ProgressBar {
    let template = "{wide_bar} {human_pos}/{human_len} {msg}  {per_sec}  {eta} left";
    SCREEN.add(ProgressBar::new(0).with_style(style(template))).with_message(what)
}

/// Shows how much is done, and of how much.
pub fn show(bar: &ProgressBar, done: u64, total: u64) {
    bar.set_length(total);
    bar.set_position(done);
}

/// A count of what was done so far.
pub fn counter(done: &'static str) -> ProgressBar {
    let bar =
        ProgressBar::new_spinner().with_style(style("{spinner} {human_pos} {msg}  {per_sec}"));
    SCREEN.add(bar).with_message(done)
}

/// One line that is always there and changes.
pub fn line() -> ProgressBar {
    SCREEN.add(ProgressBar::new_spinner().with_style(style("{wide_msg}")))
}

fn style(template: &str) -> ProgressStyle {
    // The templates are ours; a mistake in one would still leave a usable bar.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
