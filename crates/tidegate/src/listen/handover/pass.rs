//! Descriptors on their way through a Unix socket. Only here are control messages written and read.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use super::frame::{Frame, MAX_DESCRIPTORS};

/// Room for the control message of one frame.
const SPACE: usize = rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS));

/// Descriptors that are taken before the frames that they belong to are understood.
const MAX_PENDING: usize = 4 * MAX_DESCRIPTORS;

/// Sends `bytes` with `descriptors`; how many bytes were taken. The descriptors have gone with the first of them.
pub(super) fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}

/// What has come and has not been understood yet.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    bytes: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl Incoming {
    /// Reads once.
    ///
    /// # Errors
    /// `UnexpectedEof` if the other side has gone, `InvalidData` if it sends more than a frame may have.
    pub(super) fn receive(&mut self, socket: impl AsFd) -> io::Result<()> {
        let mut buffer = [0; 4096];
        let mut space = [MaybeUninit::uninit(); SPACE];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) || self.descriptors.len() > MAX_PENDING {
            return Err(io::ErrorKind::InvalidData.into());
        }
        match buffer.get(..received.bytes) {
            None | Some([]) => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(bytes) => {
                self.bytes.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// The next whole frame with its descriptors.
    ///
    /// # Errors
    /// `InvalidData`: the other side speaks another language.
    pub(super) fn next(&mut self) -> io::Result<Option<(Frame, Vec<OwnedFd>)>> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let Some((frame, size)) = Frame::decode(&self.bytes).map_err(|_| invalid())? else {
            return Ok(None);
        };
        self.bytes.drain(..size);
        if frame.descriptors() > self.descriptors.len() {
            return Err(invalid());
        }
        let descriptors = self.descriptors.drain(..frame.descriptors()).collect();
        Ok(Some((frame, descriptors)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::super::frame::Label;
    use super::*;

    #[test]
    fn as_many_descriptors_as_a_frame_holds_arrive_in_their_order() {
        let (here, there) = UnixStream::pair().unwrap();
        let files: Vec<_> = (0..MAX_DESCRIPTORS).map(|_| tempfile::tempfile().unwrap()).collect();
        for (index, file) in files.iter().enumerate() {
            file.set_len(index as u64).unwrap();
        }
        let label = |index| Label { name: format!("{index}"), configured: ([127, 0, 0, 1], 80).into() };
        let frame = Frame::Sockets((0..MAX_DESCRIPTORS).map(label).collect());
        let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        let bytes = frame.encode();
        let mut incoming = Incoming::default();
        // Twice: what belongs to the second frame must not be taken for the first.
        for _ in 0..2 {
            assert_eq!(send(&here, &bytes, &borrowed).unwrap(), bytes.len());
        }
        for _ in 0..2 {
            let (arrived, descriptors) = loop {
                if let Some(arrived) = incoming.next().unwrap() {
                    break arrived;
                }
                incoming.receive(&there).unwrap();
            };
            assert_eq!(arrived, frame);
            let lengths: Vec<_> =
                descriptors.into_iter().map(|file| std::fs::File::from(file).metadata().unwrap().len()).collect();
            assert_eq!(lengths, (0..MAX_DESCRIPTORS as u64).collect::<Vec<_>>());
        }
        drop(here);
        assert_eq!(incoming.receive(&there).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_frame_without_its_descriptors_is_an_error() {
        let (here, there) = UnixStream::pair().unwrap();
        let label = Label { name: "a".to_owned(), configured: ([127, 0, 0, 1], 80).into() };
        send(&here, &Frame::Sockets(vec![label]).encode(), &[]).unwrap();
        let mut incoming = Incoming::default();
        incoming.receive(&there).unwrap();
        assert_eq!(incoming.next().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
