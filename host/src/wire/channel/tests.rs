use super::*;
use std::io::Write;

fn pair() -> (OwnedFd, OwnedFd) {
    let (one, other) = StdUnixStream::pair().unwrap();
    (one.into(), other.into())
}

#[tokio::test]
async fn frames_and_their_descriptors_arrive_in_order() {
    let (here, there) = pair();
    let (_, mut out) = polled(here, false).unwrap();
    let (mut inbox, _) = polled(there, true).unwrap();
    for number in 0..10_u32 {
        let file = std::fs::File::open("/dev/null").unwrap();
        out.push(&(number, vec![7_u8; 50_000]), (number % 2 == 1).then(|| file.into()));
    }
    let sending = tokio::spawn(async move { out.flush().await });
    for number in 0..10 {
        let ((got, bytes), descriptor): ((u32, Vec<u8>), _) = inbox.next().await.unwrap().unwrap();
        assert_eq!((got, bytes.len(), descriptor.is_some()), (number, 50_000, number % 2 == 1));
    }
    sending.await.unwrap().unwrap();
    assert!(inbox.next::<u32>().await.unwrap().is_none(), "the end between two frames is an end");
}

#[tokio::test]
async fn what_has_been_sent_is_not_kept_while_there_is_more() {
    let (here, there) = pair();
    let (_, mut out) = polled(here, false).unwrap();
    let (mut inbox, _) = polled(there, true).unwrap();
    for number in 0..100_u32 {
        // Something is always waiting: what is pushed here is more than the socket takes.
        out.push(&(number, vec![7_u8; 400_000]), Some(std::fs::File::open("/dev/null").unwrap().into()));
        let ((got, _), descriptor): ((u32, Vec<u8>), _) = tokio::select! {
            biased;
            flushed = out.flush() => { flushed.unwrap(); inbox.next().await.unwrap().unwrap() }
            frame = inbox.next() => frame.unwrap().unwrap(),
        };
        assert!(got <= number && descriptor.is_some());
        assert!(out.kept_bytes() < 4 * Outbox::MOST_SENT_BYTES, "{} bytes after {number} frames", out.kept_bytes());
    }
}

#[tokio::test]
async fn what_is_too_long_or_broken_ends_the_channel() {
    let (here, there) = pair();
    let mut raw = StdUnixStream::from(here);
    let (mut inbox, _) = polled(there, false).unwrap();
    raw.write_all(&(MOST_FRAME_BYTES as u32 + 1).to_le_bytes()).unwrap();
    assert!(matches!(inbox.next::<u32>().await, Err(WireError::TooLong { .. })));

    let (here, there) = pair();
    let mut raw = StdUnixStream::from(here);
    let mut inbox = polled(there, false).unwrap().0.of_frames_up_to(3);
    raw.write_all(&[3, 0, 0, 0, 2, 1, 1, 4, 0, 0, 0]).unwrap();
    assert_eq!(inbox.next::<Vec<u8>>().await.unwrap().unwrap().0, [1, 1]);
    assert!(matches!(inbox.next::<u32>().await, Err(WireError::TooLong { bytes: 4, most: 3 })));

    let (here, there) = pair();
    let mut raw = StdUnixStream::from(here);
    let (mut inbox, _) = polled(there, false).unwrap();
    raw.write_all(&[3, 0, 0, 0, 1, 2, 3, 9, 0]).unwrap();
    assert!(matches!(inbox.next::<u8>().await, Err(WireError::Malformed(_))), "more than the message");
    drop(raw);
    assert!(matches!(inbox.next::<u8>().await, Err(WireError::Read(_))), "cut off in the middle");
}

#[tokio::test]
async fn a_reader_that_takes_no_descriptors_gets_none() {
    let (here, there) = pair();
    let (_, mut out) = polled(here, false).unwrap();
    let (mut inbox, _) = polled(there, false).unwrap();
    out.push(&1_u32, Some(std::fs::File::open("/dev/null").unwrap().into()));
    out.flush().await.unwrap();
    assert!(matches!(inbox.next::<u32>().await, Err(WireError::NoDescriptor)));
}

#[test]
fn blocking_ends_speak_the_same() {
    let (here, there) = pair();
    let (_, mut out) = blocking(here, false).unwrap();
    let (mut inbox, _) = blocking(there, true).unwrap();
    out.push(&7_u32, Some(std::fs::File::open("/dev/null").unwrap().into()));
    out.push_bytes(b"code");
    out.flush_blocking().unwrap();
    let (seven, descriptor): (u32, _) = inbox.next_blocking().unwrap().unwrap();
    assert!(seven == 7 && descriptor.is_some());
    assert_eq!(inbox.bytes_blocking(4).unwrap(), b"code");
}
