//! The broker as a runner has it: another process, asked over a socket with the run's ticket.
//!
//! What comes back is a connected socket, an open file, or values. A run without a ticket is refused here already, which saves the
//! broker the trouble; that it would refuse as well is what counts. Kstats are the agent's to answer.

use std::collections::HashMap;
use std::fs::File;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sonde_host::wire::{Answer, Inbox, OpenReply, OpenRequest, Opened, Opening, Outbox, WireError};
use sonde_host::{BrokerError, Kstat, Process, Ticket};
use tokio::sync::{mpsc, oneshot};

use crate::broker::{Broker, BrokerFuture};

/// Longest wait for what has no deadline of its own; the run's is over before.
const PATIENCE: Duration = Duration::from_secs(60);

type Reply = (Result<Opened, BrokerError>, Option<Given>);

/// A descriptor on its way to a run. Where it never gets there it is closed on the blocking pool: closing a file waits for its file
/// system, and that can be an instance's own.
struct Given(Option<OwnedFd>);

impl Given {
    fn take(mut self) -> Option<OwnedFd> {
        self.0.take()
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        if let Some(descriptor) = self.0.take() {
            tokio::task::spawn_blocking(move || drop(descriptor));
        }
    }
}

/// The socket to the broker, for all runs.
pub(crate) struct BrokerLink {
    requests: mpsc::UnboundedSender<OpenRequest>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Reply>>>,
    next: AtomicU64,
}

impl BrokerLink {
    /// The link, and the work of it: to be polled beside the runs. That ends where the broker does.
    pub(crate) fn new(inbox: Inbox, outbox: Outbox) -> (Arc<Self>, impl Future<Output = Result<(), WireError>>) {
        let (requests, asked) = mpsc::unbounded_channel();
        let link = Arc::new(Self { requests, waiting: Mutex::default(), next: AtomicU64::new(0) });
        (link.clone(), converse(link, inbox, outbox, asked))
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Reply>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open(&self, ticket: &Ticket, number: u32, what: Opening, deadline: Instant) -> Reply {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.waiting().insert(id, reply);
        let _forget = Forget { link: self, id };
        let patience = deadline.saturating_duration_since(Instant::now());
        let patience_ms = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
        let gone = || (Err(BrokerError::Other("the node's broker has ended".into())), None);
        if self.requests.send(OpenRequest { id, ticket: ticket.clone(), number, what, patience_ms }).is_err() {
            return gone();
        }
        answer.await.unwrap_or_else(|_| gone())
    }
}

/// Takes a question back whose run was cut off; what is opened for it then is closed as it comes.
struct Forget<'a> {
    link: &'a BrokerLink,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.link.waiting().remove(&self.id);
    }
}

async fn converse(
    link: Arc<BrokerLink>,
    mut inbox: Inbox,
    mut outbox: Outbox,
    mut asked: mpsc::UnboundedReceiver<OpenRequest>,
) -> Result<(), WireError> {
    loop {
        tokio::select! {
            request = asked.recv() => match request {
                Some(request) => outbox.push(&request, None),
                None => return Ok(()),
            },
            reply = inbox.next::<OpenReply>() => {
                let Some((OpenReply { id, result }, descriptor)) = reply? else { return Ok(()) };
                let descriptor = descriptor.map(|descriptor| Given(Some(descriptor)));
                if let Some(waiting) = link.waiting().remove(&id) {
                    let _ = waiting.send((result, descriptor));
                }
            }
            flushed = outbox.flush(), if !outbox.is_empty() => flushed?,
        }
    }
}

/// A question of a run's about kstats, on its way to the agent.
pub(crate) struct KstatsQuestion {
    pub(crate) run: u64,
    pub(crate) module: String,
    pub(crate) reply: oneshot::Sender<Answer>,
}

/// The broker of one run.
pub(crate) struct RemoteBroker {
    pub(crate) link: Arc<BrokerLink>,
    pub(crate) questions: mpsc::UnboundedSender<KstatsQuestion>,
    pub(crate) run: u64,
    pub(crate) ticket: Option<Ticket>,
    /// Openings so far: each has a number, and each number is good once.
    pub(crate) opened: AtomicU32,
}

impl RemoteBroker {
    async fn ask(&self, what: Opening, deadline: Instant) -> Result<(Opened, Option<Given>), BrokerError> {
        let Some(ticket) = &self.ticket else {
            return Err(BrokerError::Denied("this run may open nothing".into()));
        };
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let (result, descriptor) = self.link.open(ticket, number, what, deadline).await;
        Ok((result?, descriptor))
    }

    async fn descriptor(&self, what: Opening, deadline: Instant) -> Result<OwnedFd, BrokerError> {
        match self.ask(what, deadline).await? {
            (Opened::Descriptor, Some(given)) => given.take().ok_or_else(unexpected),
            _ => Err(unexpected()),
        }
    }

    async fn socket<T: From<OwnedFd>>(&self, what: Opening, deadline: Instant) -> Result<T, BrokerError> {
        let descriptor = self.descriptor(what, deadline).await?;
        rustix::io::ioctl_fionbio(&descriptor, true)
            .map_err(|error| BrokerError::Other(std::io::Error::from(error).to_string()))?;
        Ok(T::from(descriptor))
    }
}

fn unexpected() -> BrokerError {
    BrokerError::Other("the node's broker gave something else than was asked for".into())
}

impl Broker for RemoteBroker {
    fn connect_tcp(&self, port: u16, deadline: Instant) -> BrokerFuture<'_, TcpStream> {
        Box::pin(self.socket(Opening::Tcp(port), deadline))
    }

    fn connect_http(&self, port: u16, deadline: Instant) -> BrokerFuture<'_, TcpStream> {
        Box::pin(self.socket(Opening::Http(port), deadline))
    }

    fn connect_unix<'a>(&'a self, path: &'a str, deadline: Instant) -> BrokerFuture<'a, UnixStream> {
        Box::pin(self.socket(Opening::Unix(path.to_owned()), deadline))
    }

    fn open_file<'a>(&'a self, path: &'a str, deadline: Instant) -> BrokerFuture<'a, File> {
        Box::pin(async move { Ok(File::from(self.descriptor(Opening::File(path.to_owned()), deadline).await?)) })
    }

    fn kstats<'a>(&'a self, module: &'a str) -> BrokerFuture<'a, Vec<Kstat>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let question = KstatsQuestion { run: self.run, module: module.to_owned(), reply };
            let gone = || BrokerError::Other("the agent has ended".into());
            self.questions.send(question).map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        })
    }

    fn processes(&self, most: usize) -> BrokerFuture<'_, Vec<Process>> {
        Box::pin(async move {
            match self.ask(Opening::Processes, Instant::now() + PATIENCE).await? {
                (Opened::Processes(mut listed), _) => {
                    listed.truncate(most);
                    Ok(listed)
                }
                _ => Err(unexpected()),
            }
        })
    }

    fn secret<'a>(&'a self, name: &'a str) -> BrokerFuture<'a, Option<String>> {
        Box::pin(async move {
            match self.ask(Opening::Secret(name.to_owned()), Instant::now() + PATIENCE).await {
                Ok((Opened::Secret(secret), _)) => Ok(Some(secret)),
                Ok(_) => Err(unexpected()),
                Err(BrokerError::NotFound) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }
}
