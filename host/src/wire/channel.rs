//! Frames over a Unix stream socket: a length, a postcard message, and at most one descriptor beside it.
//!
//! A reader says whether it takes descriptors; where it does not, the kernel closes what came. Frames are bounded before
//! a byte of them is kept, so the most that a peer can make us hold is one frame and one read. Both halves are cancel-safe: what
//! was read or written stays noted in them, so they can stand in a `select!`. They are also usable on a blocking socket, for a process that has
//! nothing else to do.

mod outbox;

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;

pub use outbox::{Descriptor, Outbox};

/// The largest frame that anybody reads: the largest batch that a grant can allow (8 MiB across the boundary), encoded, and room to spare.
pub const MOST_FRAME_BYTES: usize = 16 << 20;

/// Bytes taken from the socket at once.
const READ_BYTES: usize = 64 << 10;
/// Of the four bytes before a frame: whether a descriptor came with it.
const WITH_DESCRIPTOR: u32 = 1 << 31;
const HEAD_BYTES: usize = 4;
/// A buffer that once held a large frame is not kept at that size.
const KEPT_BYTES: usize = 1 << 20;

/// Why a channel is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("the other end cannot be read from")]
    Read(#[source] io::Error),
    #[error("the other end cannot be written to")]
    Write(#[source] io::Error),
    #[error("a frame of {bytes} bytes came; {most} are allowed")]
    TooLong { bytes: usize, most: usize },
    #[error("a frame says that a descriptor came with it, and none did")]
    NoDescriptor,
    #[error("a frame is no message of this channel")]
    Malformed(#[source] postcard::Error),
}

/// The bytes of a message.
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(message).expect("our own types have no maps of unknown length, and memory is there")
}

/// A message out of its bytes, all of them.
///
/// # Errors
/// They are no such message, or more than one.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    let (message, rest) = postcard::take_from_bytes(bytes).map_err(WireError::Malformed)?;
    if rest.is_empty() { Ok(message) } else { Err(WireError::Malformed(postcard::Error::SerializeBufferFull)) }
}

/// A frame, whole.
struct Frame {
    bytes: Vec<u8>,
    descriptor: Option<OwnedFd>,
}

/// A socket that is polled by tokio, or one that blocks.
#[derive(Debug, Clone)]
enum Socket {
    Polled(Arc<UnixStream>),
    Blocking(Arc<StdUnixStream>),
}

impl Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Polled(stream) => stream.as_fd(),
            Self::Blocking(stream) => stream.as_fd(),
        }
    }
}

/// The reading half.
#[derive(Debug)]
pub struct Inbox {
    socket: Socket,
    takes_descriptors: bool,
    most_frame_bytes: usize,
    chunk: Box<[u8]>,
    /// Read and not yet taken out, from `start` on.
    buffer: Vec<u8>,
    start: usize,
    descriptors: VecDeque<OwnedFd>,
}

/// Both halves of a polled socket. Must be called within a tokio runtime.
///
/// # Errors
/// The socket cannot be polled.
pub fn polled(socket: OwnedFd, takes_descriptors: bool) -> io::Result<(Inbox, Outbox)> {
    let stream = StdUnixStream::from(socket);
    stream.set_nonblocking(true)?;
    let socket = Socket::Polled(Arc::new(UnixStream::from_std(stream)?));
    Ok((Inbox::new(socket.clone(), takes_descriptors), Outbox::new(socket)))
}

/// Both halves of a blocking socket.
///
/// # Errors
/// The socket cannot be made to block.
pub fn blocking(socket: OwnedFd, takes_descriptors: bool) -> io::Result<(Inbox, Outbox)> {
    let stream = StdUnixStream::from(socket);
    stream.set_nonblocking(false)?;
    let socket = Socket::Blocking(Arc::new(stream));
    Ok((Inbox::new(socket.clone(), takes_descriptors), Outbox::new(socket)))
}

impl Inbox {
    fn new(socket: Socket, takes_descriptors: bool) -> Self {
        let chunk = vec![0; READ_BYTES].into_boxed_slice();
        let (buffer, descriptors) = Default::default();
        Self { socket, takes_descriptors, most_frame_bytes: MOST_FRAME_BYTES, chunk, buffer, start: 0, descriptors }
    }

    /// Takes no frame of more than this: for a peer that has nothing long to say, and must not make us keep it.
    #[must_use]
    pub fn of_frames_up_to(self, most_frame_bytes: usize) -> Self {
        Self { most_frame_bytes: most_frame_bytes.min(MOST_FRAME_BYTES), ..self }
    }

    /// The next message and its descriptor; `None` once the other end has closed between two frames.
    ///
    /// # Errors
    /// See [`WireError`]; the channel is of no more use then.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<(T, Option<OwnedFd>)>, WireError> {
        loop {
            if let Some(frame) = self.take_frame()? {
                return Ok(Some((decode(&frame.bytes)?, frame.descriptor)));
            }
            if self.fill().await.map_err(WireError::Read)? == 0 {
                return self.ended();
            }
        }
    }

    /// A message that has already been read, without waiting.
    ///
    /// # Errors
    /// As [`Inbox::next`].
    pub fn next_read<T: DeserializeOwned>(&mut self) -> Result<Option<(T, Option<OwnedFd>)>, WireError> {
        let Some(frame) = self.take_frame()? else { return Ok(None) };
        Ok(Some((decode(&frame.bytes)?, frame.descriptor)))
    }

    /// [`Inbox::next`] on a blocking socket.
    ///
    /// # Errors
    /// As [`Inbox::next`].
    pub fn next_blocking<T: DeserializeOwned>(&mut self) -> Result<Option<(T, Option<OwnedFd>)>, WireError> {
        loop {
            if let Some(frame) = self.take_frame()? {
                return Ok(Some((decode(&frame.bytes)?, frame.descriptor)));
            }
            let socket = self.socket.clone();
            if self.receive(socket.as_fd()).map_err(WireError::Read)? == 0 {
                return self.ended();
            }
        }
    }

    /// Plain bytes that follow the last frame, on a blocking socket.
    ///
    /// # Errors
    /// The other end closes before there are so many.
    pub fn bytes_blocking(&mut self, wanted: usize) -> Result<Vec<u8>, WireError> {
        let socket = self.socket.clone();
        while self.buffer.len() - self.start < wanted {
            if self.receive(socket.as_fd()).map_err(WireError::Read)? == 0 {
                return Err(WireError::Read(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok(self.take(wanted))
    }

    /// Plain bytes that follow the last frame.
    ///
    /// # Errors
    /// As [`Inbox::bytes_blocking`].
    pub async fn bytes(&mut self, wanted: usize) -> Result<Vec<u8>, WireError> {
        while self.buffer.len() - self.start < wanted {
            if self.fill().await.map_err(WireError::Read)? == 0 {
                return Err(WireError::Read(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok(self.take(wanted))
    }

    fn ended<T>(&self) -> Result<Option<T>, WireError> {
        if self.buffer.len() == self.start {
            return Ok(None);
        }
        Err(WireError::Read(io::ErrorKind::UnexpectedEof.into()))
    }

    async fn fill(&mut self) -> io::Result<usize> {
        let Socket::Polled(stream) = self.socket.clone() else {
            return Err(io::Error::other("a blocking socket was waited for"));
        };
        loop {
            stream.readable().await?;
            match stream.try_io(Interest::READABLE, || self.receive(stream.as_fd())) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }

    fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let received = if self.takes_descriptors {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut into = [IoSliceMut::new(&mut self.chunk)];
            let received = retry(|| recvmsg(socket, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC))?.bytes;
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    self.descriptors.extend(descriptors);
                }
            }
            received
        } else {
            // Nowhere to put descriptors: the kernel closes what was sent. (A jailed process may have no recvmsg at all.)
            retry(|| rustix::io::read(socket, &mut *self.chunk))?
        };
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
        self.buffer.extend_from_slice(&self.chunk[..received]);
        // A secret may be among it, and this stays for as long as the channel does.
        self.chunk[..received].fill(0);
        Ok(received)
    }

    fn take_frame(&mut self) -> Result<Option<Frame>, WireError> {
        let unread = &self.buffer[self.start..];
        let Some(head) = unread.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let head = u32::from_le_bytes(*head);
        let length = (head & !WITH_DESCRIPTOR) as usize;
        if length > self.most_frame_bytes {
            return Err(WireError::TooLong { bytes: length, most: self.most_frame_bytes });
        }
        if unread.len() < HEAD_BYTES + length {
            return Ok(None);
        }
        self.start += HEAD_BYTES;
        let bytes = self.take(length);
        let descriptor = if head & WITH_DESCRIPTOR == 0 {
            None
        } else {
            Some(self.descriptors.pop_front().ok_or(WireError::NoDescriptor)?)
        };
        Ok(Some(Frame { bytes, descriptor }))
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let taken = &mut self.buffer[self.start..self.start + length];
        let bytes = taken.to_vec();
        taken.fill(0);
        self.start += length;
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.buffer.shrink_to(KEPT_BYTES);
            self.start = 0;
        } else if self.start > READ_BYTES {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        bytes
    }
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return done.map_err(Into::into),
        }
    }
}

#[cfg(test)]
mod tests;
