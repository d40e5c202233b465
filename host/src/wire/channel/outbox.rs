//! The writing half of a channel.
//!
//! What is pushed waits in one buffer and is sent by `flush`, as far as the socket takes it. A descriptor goes with the first byte of its own
//! frame, so that the reader knows whose it is; and what was sent is wiped, since it may have been a secret.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::Serialize;
use tokio::io::Interest;

use super::{HEAD_BYTES, KEPT_BYTES, Socket, WITH_DESCRIPTOR, WireError, retry};

/// Sent bytes are taken off the front by so many at once.
const SENT_BYTES: usize = 1 << 20;

/// What can be sent beside a frame: kept until it has been, and dropped then.
pub type Descriptor = Box<dyn AsFd + Send + Sync>;

/// The writing half. What is pushed is sent by `flush`.
pub struct Outbox {
    socket: Socket,
    buffer: Vec<u8>,
    sent: usize,
    /// Descriptors and where in `buffer` their frames begin.
    descriptors: VecDeque<(usize, Descriptor)>,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waiting = (self.waiting_bytes(), self.waiting_descriptors());
        f.debug_struct("Outbox").field("socket", &self.socket).field("waiting", &waiting).finish()
    }
}

impl Outbox {
    pub(super) fn new(socket: Socket) -> Self {
        Self { socket, buffer: Vec::new(), sent: 0, descriptors: VecDeque::new() }
    }

    /// Appends a message, and a descriptor that goes with it.
    pub fn push(&mut self, message: &impl Serialize, descriptor: Option<OwnedFd>) {
        self.push_with(message, descriptor.map(|descriptor| Box::new(descriptor) as Descriptor));
    }

    /// [`Outbox::push`] with something else than a plain descriptor.
    pub fn push_with(&mut self, message: &impl Serialize, descriptor: Option<Descriptor>) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; HEAD_BYTES]);
        let filled = std::mem::take(&mut self.buffer);
        self.buffer = postcard::to_extend(message, filled).expect("our own types are of known length");
        let length = self.buffer.len() - start - HEAD_BYTES;
        let mark = if descriptor.is_some() { WITH_DESCRIPTOR } else { 0 };
        let length = u32::try_from(length).expect("no message of ours is of 4 GiB");
        self.buffer[start..start + HEAD_BYTES].copy_from_slice(&(length | mark).to_le_bytes());
        if let Some(descriptor) = descriptor {
            self.descriptors.push_back((start, descriptor));
        }
    }

    /// Appends bytes as they are.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether everything pushed has been sent.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Sent bytes that are kept at most, and all bytes that are.
    #[cfg(test)]
    pub(super) const MOST_SENT_BYTES: usize = SENT_BYTES;
    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes that wait to be sent.
    pub fn waiting_bytes(&self) -> usize {
        self.buffer.len() - self.sent
    }

    /// Descriptors that wait to be sent.
    pub fn waiting_descriptors(&self) -> usize {
        self.descriptors.len()
    }

    /// Sends what was pushed.
    ///
    /// # Errors
    /// See [`WireError`].
    pub async fn flush(&mut self) -> Result<(), WireError> {
        let Socket::Polled(stream) = self.socket.clone() else { return self.flush_blocking() };
        while !self.buffer.is_empty() {
            match stream.try_io(Interest::WRITABLE, || self.send(stream.as_fd())) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    stream.writable().await.map_err(WireError::Write)?;
                }
                Err(error) => return Err(WireError::Write(error)),
            }
        }
        Ok(())
    }

    /// [`Outbox::flush`] on a blocking socket.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn flush_blocking(&mut self) -> Result<(), WireError> {
        let socket = self.socket.clone();
        while !self.buffer.is_empty() {
            self.send(socket.as_fd()).map_err(WireError::Write)?;
        }
        Ok(())
    }

    /// Sends up to the next frame with a descriptor: a descriptor travels with the first byte of its own frame and no other.
    fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let here = self.descriptors.front().filter(|(at, _)| *at == self.sent).is_some();
        let next = self.descriptors.get(usize::from(here)).map_or(self.buffer.len(), |(at, _)| *at);
        let sent = match self.descriptors.front() {
            Some((_, descriptor)) if here => {
                let (bytes, descriptors) = ([IoSlice::new(&self.buffer[self.sent..next])], [descriptor.as_fd()]);
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut ancillary = SendAncillaryBuffer::new(&mut space);
                ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
                retry(|| sendmsg(socket, &bytes, &mut ancillary, SendFlags::NOSIGNAL))?
            }
            // The plainest call: a jailed process has no other.
            _ => retry(|| rustix::io::write(socket, &self.buffer[self.sent..next]))?,
        };
        if here {
            self.descriptors.pop_front();
        }
        self.sent += sent;
        if self.sent == self.buffer.len() {
            // What is cleared stays where it is until something else is pushed; a secret should not.
            self.buffer.fill(0);
            self.buffer.clear();
            self.buffer.shrink_to(KEPT_BYTES);
            self.sent = 0;
        } else if self.sent > SENT_BYTES {
            // Never empty, while more is pushed than is taken: what has gone must go all the same.
            self.buffer.drain(..self.sent);
            self.descriptors.iter_mut().for_each(|(at, _)| *at -= self.sent);
            self.sent = 0;
        }
        Ok(())
    }
}
