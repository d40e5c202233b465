//! The limits of `setrlimit`, soft and hard alike, so that they cannot be raised again.
//!
//! They hold where there is no cgroup, and for what a cgroup does not count: descriptors, files,
//! locked memory. A limit that is already lower stays: not every root may raise one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{Fault, Jail, Outcome};

/// Sets them all. `own_user`: no other process of the agent has this user, so that its count of
/// processes is ours; otherwise the agent's own would count and no thread could be started.
pub(crate) fn apply(jail: &Jail, own_user: bool) -> Outcome {
    let always = [
        // A core would be memory of tenants on the disk.
        (Resource::Core, Some(0)),
        (Resource::Fsize, Some(jail.file_bytes)),
        (Resource::Memlock, Some(0)),
        (Resource::Msgqueue, Some(0)),
        (Resource::Rtprio, Some(0)),
        (Resource::Nice, Some(0)),
        (Resource::Nofile, Some(jail.open_files)),
        (Resource::Nproc, own_user.then_some(jail.processes)),
        (Resource::Cpu, jail.cpu_seconds),
        (Resource::As, jail.address_space_bytes),
    ];
    for (resource, limit) in always {
        if let Some(limit) = limit {
            lower(resource, limit)?;
        }
    }
    Ok((!own_user).then(|| "processes are not counted, for want of a user of its own".to_owned()))
}

fn lower(resource: Resource, limit: u64) -> Result<(), Fault> {
    let limit = getrlimit(resource).maximum.map_or(limit, |hard| hard.min(limit));
    let wanted = Rlimit { current: Some(limit), maximum: Some(limit) };
    setrlimit(resource, wanted).map_err(Fault::call("setrlimit"))?;
    if getrlimit(resource) == wanted { Ok(()) } else { Err(Fault::NotKept { flag: "a limit" }) }
}
