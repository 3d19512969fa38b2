//! A TCP connection that starts on another machine.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

use crate::session::Session;

/// A TCP connection made from a target to some address that the target can reach.
///
/// It keeps the target's SSH session alive for as long as it exists, and closes its channel when dropped.
///
/// What arrives and isn't read yet waits in memory, without a limit. A limit would stop the whole session while one of its
/// tunnels isn't read, and when what travels in the tunnel is an SSH session that waits to write, both would wait for ever.
pub struct Tunnel {
    arriving: mpsc::UnboundedReceiver<Bytes>,
    piece: Bytes,
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    write: Option<Arc<ChannelWriteHalf<Msg>>>,
    session: Arc<Session>,
}

impl Tunnel {
    pub(crate) fn new(channel: Channel<Msg>, session: Arc<Session>) -> Tunnel {
        let (mut read, write) = channel.split();
        let (arrived, arriving) = mpsc::unbounded_channel();
        // Ends with the channel, which ends with the tunnel or with the session.
        tokio::spawn(async move {
            while let Some(message) = read.wait().await {
                match message {
                    ChannelMsg::Data { data } => {
                        // Nobody is left to read; what still arrives is thrown away.
                        let _ = arrived.send(data);
                    }
                    ChannelMsg::Eof | ChannelMsg::Close => break,
                    _ => {}
                }
            }
        });
        let writer = Box::pin(write.make_writer());
        Tunnel {
            arriving,
            piece: Bytes::new(),
            writer,
            write: Some(Arc::new(write)),
            session,
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let (Some(write), Ok(runtime)) = (self.write.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let session = Arc::clone(&self.session);
        runtime.spawn(async move {
            let _ = write.close().await;
            drop(session);
        });
    }
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel").finish_non_exhaustive()
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.piece.is_empty() {
            match ready!(self.arriving.poll_recv(cx)) {
                Some(piece) => self.piece = piece,
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.piece.len().min(buffer.remaining());
        buffer.put_slice(&self.piece[..length]);
        self.piece.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writer.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.as_mut().poll_shutdown(cx)
    }
}
