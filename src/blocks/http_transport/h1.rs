//! A connection that speaks HTTP/1.1: one request at a time.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::connection::Conn;
use super::core::{Held, Look};
use super::dial::{Heard, Stream};
use super::metrics::CloseReason;
use super::permit::Place;
use super::request_body::TransportBody;
use super::times::HostTimes;
use crate::ground::time::now;

/// How long a connection whose answer was read to its end may take to be ready for another
/// request (the rest of the request is still being written), before it is closed.
const SETTLE: Duration = Duration::from_secs(1);

/// The end of a connection that a request holds. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct H1 {
    sender: SendRequest<TransportBody>,
    /// At most one order is ever on its way: both take the connection out of use.
    orders: mpsc::Sender<Order>,
    heard: Heard,
    times: HostTimes,
    /// What had been heard when the request was sent.
    before: u64,
}

/// A connection on its way back to the pool.
#[derive(Debug)]
pub(super) struct Settling {
    pub(super) held: Held<Conn>,
    /// What nobody wants of the last answer, and how much of it may still be read.
    pub(super) rest: Option<(Incoming, usize)>,
}

#[derive(Debug)]
enum Order {
    /// Give it back once it is ready for the next request.
    Settle(Settling),
    Close(CloseReason),
}

impl H1 {
    pub(super) fn sender(&mut self) -> &mut SendRequest<TransportBody> {
        self.before = self.heard.so_often();
        &mut self.sender
    }

    /// Whether a byte came back since [`sender`](Self::sender).
    pub(super) fn was_answered(&self) -> bool {
        self.heard.so_often() > self.before
    }

    pub(super) fn times(&self) -> &HostTimes {
        &self.times
    }

    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(super) fn close(&self, reason: CloseReason) {
        // No room, or nobody there: the task has ended.
        let _ = self.orders.try_send(Order::Close(reason));
    }
}

/// Lets the connection's own task give it back when it is ready. `false`: the task has ended, or
/// is about to.
pub(super) fn settle(settling: Settling) -> bool {
    let Conn::H1(conn) = &settling.held.conn else { return false };
    let orders = conn.orders.clone();
    orders.try_send(Order::Settle(settling)).is_ok()
}

impl Settling {
    /// Reads what nobody wants. `Ready`: to its end, or `false`: there is too much of it.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        while let Some((rest, left)) = &mut self.rest {
            match std::task::ready!(Pin::new(rest).poll_frame(cx)) {
                None => self.rest = None,
                Some(Err(_)) => return Poll::Ready(false),
                Some(Ok(frame)) => {
                    let so_much = frame.data_ref().map_or(0, bytes::Bytes::len);
                    match left.checked_sub(so_much) {
                        Some(now_left) => *left = now_left,
                        None => return Poll::Ready(false),
                    }
                }
            }
        }
        Poll::Ready(true)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if !std::task::ready!(self.poll_rest(cx)) {
            return Poll::Ready(Event::TooMuch);
        }
        match &mut self.held.conn {
            // An error means that it has ended, which its own polling tells with the reason.
            Conn::H1(conn) => match conn.sender.poll_ready(cx) {
                Poll::Ready(Ok(())) => Poll::Ready(Event::Settled),
                Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
            },
            Conn::H2(_) => Poll::Pending,
        }
    }
}

/// Speaks HTTP/1.1 over `stream`.
pub(super) async fn handshake(
    stream: Stream,
    max_header_bytes: usize,
    times: HostTimes,
) -> hyper::Result<(H1, Driver)> {
    let heard = stream.heard();
    let (sender, connection) = Builder::new()
        .max_header_size(max_header_bytes)
        .max_buf_size(max_header_bytes)
        .handshake(TokioIo::new(stream))
        .await?;
    let (order, orders) = mpsc::channel(1);
    Ok((
        H1 { sender, orders: order, heard, times, before: 0 },
        Driver { connection, orders, settling: None, is_counted_on: false },
    ))
}

/// The socket's side of a connection.
#[derive(Debug)]
pub(super) struct Driver {
    connection: Connection<TokioIo<Stream>, TransportBody>,
    orders: mpsc::Receiver<Order>,
    settling: Option<Settling>,
    /// Somebody may wait for the connection in `settling`.
    is_counted_on: bool,
}

enum Event {
    Ordered(Option<Order>),
    Ended(hyper::Result<()>),
    /// The connection in `settling` is ready.
    Settled,
    /// It is not, though the connection has been polled: the rest of its request is being written.
    Lingers,
    /// More is left of its last answer than is read for a connection's sake.
    TooMuch,
    Due,
}

impl Driver {
    /// The task. `place` is free once the socket is closed, also when this future is dropped.
    pub(super) async fn run(self, place: Place) {
        // Fields are dropped in this order.
        struct Task(Driver, Place);
        let mut task = Task(self, place);
        let reason = task.0.watch(&task.1).await;
        task.1.closes_for(reason);
    }

    async fn watch(&mut self, place: &Place) -> CloseReason {
        let timer = tokio::time::sleep_until(place.first_look(now()).into());
        let mut timer = std::pin::pin!(timer);
        loop {
            match poll_fn(|cx| self.poll_event(timer.as_mut(), cx)).await {
                Event::Ordered(None) => return CloseReason::Abandoned,
                Event::Ordered(Some(Order::Close(reason))) => return reason,
                Event::Ordered(Some(Order::Settle(settling))) => {
                    self.is_counted_on = settling.rest.is_none();
                    self.settling = Some(settling);
                    timer.as_mut().reset((now() + SETTLE).into());
                }
                Event::Settled => {
                    if let Some(settling) = self.settling.take() {
                        place.give_back(settling.held);
                    }
                    timer.as_mut().reset(place.first_look(now()).into());
                }
                Event::Lingers => place.lingers(),
                Event::Ended(Ok(())) => return CloseReason::ByPeer,
                Event::Ended(Err(_)) => return CloseReason::Broken,
                Event::TooMuch => return CloseReason::Abandoned,
                Event::Due if self.settling.is_some() => return CloseReason::Abandoned,
                Event::Due => match place.look(now()) {
                    Some(Look::Again(at)) => timer.as_mut().reset(at.into()),
                    Some(Look::Retire(_held, reason)) => return reason,
                    None => return CloseReason::Abandoned,
                },
            }
        }
    }

    /// Orders first: whoever closes a connection for a reason also drops its `Conn`, by which
    /// alone the connection would end too.
    fn poll_event(&mut self, timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(order) = self.orders.poll_recv(cx) {
            return Poll::Ready(Event::Ordered(order));
        }
        if let Poll::Ready(ended) = Pin::new(&mut self.connection).poll(cx) {
            return Poll::Ready(Event::Ended(ended));
        }
        // After the connection, whose polling is what makes it ready.
        if let Some(settling) = &mut self.settling {
            match settling.poll(cx) {
                Poll::Ready(event) => return Poll::Ready(event),
                Poll::Pending if std::mem::take(&mut self.is_counted_on) => {
                    return Poll::Ready(Event::Lingers);
                }
                Poll::Pending => {}
            }
        }
        timer.poll(cx).map(|()| Event::Due)
    }
}
