//! A connection that speaks HTTP/2: many requests at once, each a stream.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::h2::client::{Builder, Connection, SendRequest};
use bytes::Bytes;

use super::alarm::Alarm;
use super::config::TransportConfig;
use super::core::Look;
use super::dial::{Heard, Stream};
use super::metrics::CloseReason;
use super::permit::Place;
use super::times::HostTimes;
use crate::ground::orders::{Inbox, Orders, orders};
use crate::ground::primitives::atomic::{AtomicBool, Ordering};
use crate::ground::time::now;

/// What a peer may send of one answer before it is read.
const STREAM_WINDOW: u32 = 1 << 20;

/// The largest there can be (RFC 9113, section 6.9.1).
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

/// What a peer may send of all answers of a connection before any is read: as much as of each, so
/// that answers that nobody reads hold up no other. (Go's client does the same.)
fn connection_window(streams: usize) -> u32 {
    u32::try_from(streams)
        .map_or(LARGEST_WINDOW, |streams| STREAM_WINDOW.saturating_mul(streams).min(LARGEST_WINDOW))
}

/// How many times `max_header_bytes` a header may be for h2 to give it to us: what is larger breaks
/// the protocol for it, and it says no more than that.
const HEADER_HEADROOM: usize = 4;

/// What may wait to be written of one request.
const SEND_BUFFER: usize = 256 << 10;

/// How much longer than the requests it carries a connection may take to close.
const GRACE: Duration = Duration::from_secs(1);

/// One end of the connection. It ends with the last, but not before what it carries.
#[derive(Clone, Debug)]
pub(super) struct H2 {
    sender: SendRequest<Bytes>,
    /// In one allocation, for every request has an end of its own.
    common: Arc<Common>,
}

/// What all ends of a connection share.
#[derive(Debug)]
struct Common {
    /// At most one order is ever on its way: of whoever takes the connection out of the pool.
    orders: Orders<CloseReason>,
    /// The heads of answers.
    heard: Heard,
    times: HostTimes,
    over: Arc<AtomicBool>,
}

impl H2 {
    pub(super) fn sender(&mut self) -> &mut SendRequest<Bytes> {
        &mut self.sender
    }

    /// How many answers have begun so far, over all streams.
    pub(super) fn heard(&self) -> u64 {
        self.common.heard.so_often()
    }

    pub(super) fn was_answered(&self) {
        self.common.heard.again();
    }

    pub(super) fn times(&self) -> &HostTimes {
        &self.common.times
    }

    /// Whether it takes no more streams.
    pub(super) fn is_closed(&self) -> bool {
        // Relaxed: a stream that is tried all the same is refused, and sent again.
        self.common.over.load(Ordering::Relaxed)
    }

    pub(super) fn drain(&self, reason: CloseReason) {
        // Not taken: it ends already.
        let _ = self.common.orders.give(reason);
    }
}

/// Speaks HTTP/2 over `stream`. Done when the peer has said its settings: only then is it known
/// that it speaks HTTP/2 at all, and how many streams it takes.
pub(super) async fn handshake(
    stream: Stream,
    config: &TransportConfig,
    times: HostTimes,
) -> Result<(H2, Driver), ::h2::Error> {
    let (sender, mut connection) = Builder::new()
        .enable_push(false)
        .initial_max_send_streams(0)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(connection_window(config.streams_per_connection))
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(header_list_size(config))
        .handshake(stream)
        .await?;
    poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Ready(Ok(())) => Poll::Ready(Err(::h2::Reason::REFUSED_STREAM.into())),
        Poll::Pending if connection.max_concurrent_send_streams() > 0 => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    let (orders, inbox) = orders();
    let over = Arc::new(AtomicBool::new(false));
    let (probe, own_most) = (Some(sender.clone()), config.streams_per_connection);
    let longest = config.total_timeout.saturating_add(GRACE);
    let common = Common { orders, heard: Heard::default(), times, over: Arc::clone(&over) };
    let conn = H2 { sender, common: Arc::new(common) };
    Ok((conn, Driver { connection, probe, inbox, over, own_most, longest }))
}

fn header_list_size(config: &TransportConfig) -> u32 {
    u32::try_from(config.max_header_bytes.saturating_mul(HEADER_HEADROOM)).unwrap_or(u32::MAX)
}

/// The socket's side of a connection.
#[derive(Debug)]
pub(super) struct Driver {
    connection: Connection<Stream, Bytes>,
    /// Tells whether new streams are taken. `None`: it is being drained.
    probe: Option<SendRequest<Bytes>>,
    inbox: Inbox<CloseReason>,
    over: Arc<AtomicBool>,
    own_most: usize,
    /// How long what it carries may take.
    longest: Duration,
}

enum Event {
    Drain(CloseReason),
    Ended(Result<(), ::h2::Error>),
    /// The peer takes no more streams, or said that it goes.
    GoesAway,
    /// The peer allows so many streams now.
    Allows(usize),
    Due,
}

impl Driver {
    /// How many streams it may carry.
    pub(super) fn most(&self) -> usize {
        self.connection.max_concurrent_send_streams().min(self.own_most)
    }

    /// The task. `place` is free once the socket is closed, also when this future is dropped.
    pub(super) async fn run(self, place: Place) {
        // Fields are dropped in this order.
        struct Task(Driver, Place);
        let mut task = Task(self, place);
        let reason = task.0.watch(&task.1).await;
        // Relaxed: as in `is_closed`.
        task.0.over.store(true, Ordering::Relaxed);
        task.1.closes_for(reason);
    }

    async fn watch(&mut self, place: &Place) -> CloseReason {
        let mut alarm = Alarm::at(place.first_look(now()));
        let mut drains_for = None;
        let mut most = self.most();
        loop {
            match poll_fn(|cx| self.poll_event(&mut alarm, most, cx)).await {
                Event::Drain(reason) => drains_for = Some(reason),
                Event::GoesAway => {
                    place.drained();
                    drains_for = Some(CloseReason::ByPeer);
                }
                Event::Allows(now_most) => {
                    most = now_most;
                    place.allows(most);
                    continue;
                }
                Event::Ended(Ok(())) => return drains_for.unwrap_or(CloseReason::ByPeer),
                Event::Ended(Err(_)) => return drains_for.unwrap_or(CloseReason::Broken),
                Event::Due => match (drains_for, place.look(now())) {
                    (Some(reason), _) => return reason,
                    (None, Some(Look::Again(at))) => {
                        alarm.set(at);
                        continue;
                    }
                    (None, Some(Look::Retire(_held, reason))) => drains_for = Some(reason),
                    (None, None) => return CloseReason::Abandoned,
                },
            }
            // From here on it lives by what it carries.
            self.probe = None;
            self.over.store(true, Ordering::Relaxed);
            alarm.set(now() + self.longest);
        }
    }

    fn poll_event(&mut self, alarm: &mut Alarm, most: usize, cx: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(reason) = self.inbox.poll(cx) {
            return Poll::Ready(Event::Drain(reason));
        }
        if let Poll::Ready(ended) = Pin::new(&mut self.connection).poll(cx) {
            return Poll::Ready(Event::Ended(ended));
        }
        if let Some(probe) = &mut self.probe {
            if let Poll::Ready(Err(_)) = probe.poll_ready(cx) {
                return Poll::Ready(Event::GoesAway);
            }
            let now = self.most();
            if now != most {
                return Poll::Ready(Event::Allows(now));
            }
        }
        alarm.poll(cx).map(|()| Event::Due)
    }
}
