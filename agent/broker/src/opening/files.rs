//! Files and Unix sockets below an instance's root.
//!
//! A disposable thread takes on the credentials of the instance's leader, then resolves the path with cap-std: nothing leads out
//! of the root, no magic link is followed. A path is first opened as a path only, which has no effect on a device or FIFO; what it
//! turned out to be is checked, and only then is it opened or connected to. A file on another mount than the root's is refused, and
//! an instance that lives in the host's mount namespace, or whose root is the host's, has no files at all.

use std::fs::File;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags, statx};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use sonde_collect::leader::namespace;
use sonde_collect::{Found, Roots};
use sonde_host::BrokerError;
use tokio::sync::oneshot;

use super::InstanceBroker;
use super::credentials::Credentials;

/// Said of an instance without a root of its own.
const NO_FILES: &str = "the instance lives in the node's own file system, so it has no files of its own";

/// Where a disposable thread says what came of it.
type Answer<T> = oneshot::Sender<Result<T, BrokerError>>;

/// An open file of an instance's. The thread that opened it keeps it open as long as this lives, and closes it: closing waits for the file
/// system, and where an instance serves its own (FUSE, below an overlay too) for as long as the instance likes.
pub(crate) struct InstanceFile {
    file: Arc<File>,
    /// Never sent on; that it is gone wakes the thread.
    _lent: mpsc::Sender<()>,
}

impl Deref for InstanceFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl AsFd for InstanceFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl std::fmt::Debug for InstanceFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.file.fmt(f)
    }
}

/// Gives a file away, and returns when it is not used any more. This thread's reference is the last.
fn lend(file: File, answer: Answer<InstanceFile>) {
    let file = Arc::new(file);
    let (lent, returned) = mpsc::channel();
    let _ = answer.send(Ok(InstanceFile { file: file.clone(), _lent: lent }));
    let _ = returned.recv();
    drop(file);
}

impl InstanceBroker {
    pub(crate) async fn file(&self, path: &str, deadline: Instant) -> Result<InstanceFile, BrokerError> {
        let path = path.to_owned();
        let work = move |root: Result<Dir, BrokerError>, answer: Answer<InstanceFile>| match root
            .and_then(|root| open_file(&root, &path))
        {
            Ok(file) => lend(file, answer),
            Err(error) => drop(answer.send(Err(error))),
        };
        self.as_instance(deadline, work).await
    }

    pub(crate) async fn unix_socket(&self, path: &str, deadline: Instant) -> Result<UnixStream, BrokerError> {
        let path = path.to_owned();
        let work = move |root: Result<Dir, BrokerError>, answer: Answer<UnixStream>| {
            let _ = answer.send(root.and_then(|root| connect_socket(&root, &path)));
        };
        self.as_instance(deadline, work).await
    }

    /// Runs `work` on the instance's root, on a thread of its own with the instance's credentials. Where it blocks past the
    /// deadline it is left behind, and its place with it.
    async fn as_instance<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl FnOnce(Result<Dir, BrokerError>, Answer<T>) + Send + 'static,
    ) -> Result<T, BrokerError> {
        let place = self.room.opening.take(self.found.name.uuid, &self.owner, deadline).await?;
        let (found, roots) = (self.found.clone(), self.room.roots.clone());
        let (done, result) = oneshot::channel();
        let spawned = thread::Builder::new().name("as-instance".into()).spawn(move || {
            work(enter(&found, &roots), done);
            drop(place);
        });
        spawned.map_err(|error| BrokerError::Other(error.to_string()))?;
        let opened = tokio::time::timeout_at(deadline.into(), result).await.map_err(|_| BrokerError::Timeout)?;
        opened.map_err(|_| BrokerError::Other("the thread that opens files has ended".into()))?
    }
}

/// The instance's root, with this thread's credentials become those of its leader. There is no way back.
fn enter(found: &Arc<Found>, roots: &Roots) -> Result<Dir, BrokerError> {
    let leader = found.leader(roots).ok_or(BrokerError::Gone)?;
    if leader.mount_namespace.is_none() || leader.shares_host_mounts(roots) {
        return Err(BrokerError::Denied(NO_FILES.into()));
    }
    let (directory, own) = (leader.directory(roots), roots.proc.join("self"));
    let status = std::fs::read_to_string(directory.join("status")).map_err(|_| BrokerError::Gone)?;
    let user_namespace = namespace(&directory, "user");
    let own_user_namespace = user_namespace.is_some() && user_namespace == namespace(&own, "user");
    let credentials = Credentials::of(&status, own_user_namespace).ok_or(BrokerError::Gone)?;
    let root = Dir::open_ambient_dir(directory.join("root"), cap_std::ambient_authority()).map_err(io_error)?;
    if !leader.is_alive() {
        return Err(BrokerError::Gone);
    }
    // A service with a private mount namespace (systemd's PrivateTmp) still has the node's own files below it.
    let (theirs, ours) = (rustix::fs::fstat(&root).map_err(errno)?, rustix::fs::stat(own.join("root")).map_err(errno)?);
    if (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino) {
        return Err(BrokerError::Denied(NO_FILES.into()));
    }
    credentials.take_on().map_err(errno)?;
    Ok(root)
}

fn io_error(error: std::io::Error) -> BrokerError {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(code) => errno(code),
        // cap-std's own refusals have no code: the path leads out of the root.
        None => BrokerError::Denied(format!("{error}")),
    }
}

fn errno(code: Errno) -> BrokerError {
    match code {
        Errno::NOENT | Errno::NOTDIR => BrokerError::NotFound,
        Errno::ACCESS | Errno::PERM => BrokerError::NotReadable,
        Errno::XDEV | Errno::LOOP => BrokerError::Denied("the path leads out of the instance's root".into()),
        Errno::CONNREFUSED => BrokerError::Refused,
        Errno::SRCH => BrokerError::Gone,
        other => BrokerError::Other(std::io::Error::from(other).to_string()),
    }
}

/// A path as such: resolved, and not yet opened.
fn resolve(root: &Dir, path: &str) -> Result<File, BrokerError> {
    let relative = PathBuf::from(path.trim_start_matches('/'));
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlags::PATH.bits() as i32);
    Ok(root.open_with(relative, &options).map_err(io_error)?.into_std())
}

fn kind_of(path: &File) -> Result<FileType, BrokerError> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(path).map_err(errno)?.st_mode))
}

fn mount_of(file: impl AsFd) -> Result<u64, BrokerError> {
    let stat = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).map_err(errno)?;
    Ok(stat.stx_mnt_id)
}

/// The name under which this thread can open what a path descriptor stands for.
fn again(path: &File) -> String {
    format!("/proc/thread-self/fd/{}", path.as_raw_fd())
}

fn open_file(root: &Dir, path: &str) -> Result<File, BrokerError> {
    let resolved = resolve(root, path)?;
    if kind_of(&resolved)? != FileType::RegularFile {
        return Err(BrokerError::NotReadable);
    }
    if mount_of(&resolved)? != mount_of(root)? {
        return Err(BrokerError::Denied("the file is on another mount than the instance's root".into()));
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(again(&resolved), flags, Mode::empty()).map_err(errno)?))
}

fn connect_socket(root: &Dir, path: &str) -> Result<UnixStream, BrokerError> {
    let resolved = resolve(root, path)?;
    if kind_of(&resolved)? != FileType::Socket {
        return Err(BrokerError::Refused);
    }
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(errno)?;
    let address = SocketAddrUnix::new(again(&resolved)).map_err(errno)?;
    match connect(&socket, &address) {
        Ok(()) => Ok(UnixStream::from(socket)),
        // A Unix socket whose backlog is full answers at once that it would block.
        Err(Errno::AGAIN) => Err(BrokerError::Timeout),
        Err(Errno::ACCESS | Errno::PERM) => {
            Err(BrokerError::Denied("the instance's user may not connect to the socket".into()))
        }
        Err(code) => Err(errno(code)),
    }
}
