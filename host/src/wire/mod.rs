//! What crosses the process boundaries of the sandbox: agent ⇄ runner, runner ⇄ broker, agent → compile worker.
//!
//! Plain values in postcard, framed by their length, with descriptors beside them (SCM_RIGHTS). The runner is the side that may
//! have been taken over, so whoever reads from it bounds every frame, takes no descriptors, and checks what the values
//! mean: a batch is decoded here and then goes through `check`, exactly as if a sensor had said it to our face.
//! Nothing here is a stable format: all ends are one build.

pub mod batch;
mod channel;
mod messages;

pub use channel::{Descriptor, Inbox, MOST_FRAME_BYTES, Outbox, WireError, blocking, decode, encode, polled};
pub use messages::{
    Answer, Call, CompileFault, CompileOrder, CompileReply, CompilerHello, FromRunner, OpenReply, OpenRequest, Opened,
    Opening, Outcome, RunOrder, ToRunner,
};
