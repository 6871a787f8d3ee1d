//! Which generation of each projection is live, and who this process is when it does a job.

use std::fs;
use std::path::Path;

use bowerbird_sink::mapping::Mapping;
use bowerbird_sink::meta::Meta;
use bowerbird_sink::meta::job::Worker;
use bowerbird_sink::meta::lease::Holder;
use bowerbird_sink::{Generations, Projection};
use bowerbird_store::AnyStore;
use clap::builder::PossibleValuesParser;
use jiff::Timestamp;

use crate::failure::WrongUse;
use crate::settings::Settings;

/// The processes of this machine, where the system shows them as files.
const PROCESSES: &str = "/proc";

/// The generations of the projections in `store`.
pub fn of(settings: &Settings, store: &AnyStore) -> Generations<AnyStore> {
    let meta = Meta::new(store.clone(), settings.config().store.create_databases);
    Generations::new(meta, Mapping::known())
}

/// This process, as it is noted in the jobs that it does.
pub fn worker() -> Worker {
    let started = Timestamp::now();
    let pid = std::process::id();
    let name = fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| fs::read_to_string("/etc/hostname"))
        .map(|name| name.trim().to_owned());
    // A machine without a name is taken for no other's neighbour.
    let host = name.unwrap_or_else(|_| format!("unnamed-{}", started.as_nanosecond()));
    let space = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let space = space.display().to_string();
    Worker { holder: Holder { host, pid, space, started }, lives }
}

/// Whether a process of this machine is alive. Where that can't be seen it is, until its lease runs
/// out.
fn lives(pid: u32) -> bool {
    let processes = Path::new(PROCESSES);
    !processes.join("self").exists() || processes.join(pid.to_string()).exists()
}

/// Takes the name of a projection.
pub fn names() -> PossibleValuesParser {
    Projection::all().into_iter().map(|base| base.name).into()
}

/// The projection of this name, in its first generation.
///
/// # Errors
/// When there is none.
pub fn base(name: &str) -> anyhow::Result<Projection> {
    let found = Projection::all().into_iter().find(|base| base.name == name);
    found.ok_or_else(|| WrongUse(format!("there is no projection {name}")).into())
}
