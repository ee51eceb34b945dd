//! A connection that speaks HTTP/1.1: one request at a time.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;

use super::alarm::{Alarm, KeptAlarm};
use super::connection::Conn;
use super::core::{Held, Look};
use super::dial::{Heard, Stream};
use super::metrics::CloseReason;
use super::permit::Place;
use super::request_body::TransportBody;
use super::times::HostTimes;
use crate::ground::orders::{Inbox, Orders, orders};
use crate::ground::time::{Instant, now};

/// How long a connection whose answer was read to its end may take to be ready for another
/// request (the rest of the request is still being written), before it is closed.
const SETTLE: Duration = Duration::from_secs(1);

/// The end of a connection that a request holds. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct H1 {
    sender: SendRequest<TransportBody>,
    /// At most one order is on its way: both take the connection out of use.
    orders: Orders<Order>,
    heard: Heard,
    times: HostTimes,
    /// What had been heard when the request was sent.
    before: u64,
    alarm: KeptAlarm,
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

    /// What `poll` comes to before `at`; `None`: the time came first.
    pub(super) async fn until<R>(
        &mut self,
        at: Option<Instant>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<R>,
    ) -> Option<R> {
        poll_fn(|cx| match (poll(cx), at) {
            (Poll::Ready(output), _) => Poll::Ready(Some(output)),
            (Poll::Pending, None) => Poll::Pending,
            (Poll::Pending, Some(at)) => self.alarm.poll(at, cx).map(|()| None),
        })
        .await
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
        // Not taken: the task has ended, or knows what to do.
        let _ = self.orders.give(Order::Close(reason));
    }
}

impl Drop for H1 {
    fn drop(&mut self) {
        // Before hyper's end of it goes, which would look as if the peer had ended it.
        self.close(CloseReason::Abandoned);
    }
}

/// Lets the connection's own task give it back when it is ready. `false`: the task has ended, or
/// is about to.
pub(super) fn settle(settling: Settling) -> bool {
    let Conn::H1(conn) = &settling.held.conn else { return false };
    let orders = conn.orders.clone();
    orders.give(Order::Settle(settling)).is_ok()
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
    let (orders, inbox) = orders();
    Ok((
        H1 { sender, orders, heard, times, before: 0, alarm: KeptAlarm::default() },
        Driver { connection, inbox, settling: None, is_counted_on: false },
    ))
}

/// The socket's side of a connection.
#[derive(Debug)]
pub(super) struct Driver {
    connection: Connection<TokioIo<Stream>, TransportBody>,
    inbox: Inbox<Order>,
    settling: Option<Settling>,
    /// Somebody may wait for the connection in `settling`.
    is_counted_on: bool,
}

enum Event {
    Ordered(Order),
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
        let mut alarm = Alarm::at(place.first_look(now()));
        loop {
            match poll_fn(|cx| self.poll_event(&mut alarm, cx)).await {
                Event::Ordered(Order::Close(reason)) => return reason,
                Event::Ordered(Order::Settle(settling)) => {
                    self.is_counted_on = settling.rest.is_none();
                    self.settling = Some(settling);
                    alarm.set(now() + SETTLE);
                }
                Event::Settled => {
                    if let Some(settling) = self.settling.take() {
                        place.give_back(settling.held);
                    }
                    alarm.set(place.first_look(now()));
                }
                Event::Lingers => place.lingers(),
                Event::Ended(Ok(())) => return CloseReason::ByPeer,
                Event::Ended(Err(_)) => return CloseReason::Broken,
                Event::TooMuch => return CloseReason::Abandoned,
                Event::Due if self.settling.is_some() => return CloseReason::Abandoned,
                Event::Due => match place.look(now()) {
                    Some(Look::Again(at)) => alarm.set(at),
                    Some(Look::Retire(_held, reason)) => return reason,
                    None => return CloseReason::Abandoned,
                },
            }
        }
    }

    /// Orders first: whoever closes a connection for a reason also drops its `Conn`, by which
    /// alone the connection would end too.
    fn poll_event(&mut self, alarm: &mut Alarm, cx: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(order) = self.inbox.poll(cx) {
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
        alarm.poll(cx).map(|()| Event::Due)
    }
}
