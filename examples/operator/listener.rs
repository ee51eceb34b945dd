//! What every listener does: it accepts, within a bound.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Wait before accepting again after the system had no socket for us.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Serves so many connections at once, for ever; more wait in the listener's backlog. Aborted, it
/// takes its connections along.
pub(crate) async fn listen<F>(listener: TcpListener, most: usize, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept(), if connections.len() < most => accepted,
        };
        match accepted {
            Ok((stream, _)) => _ = connections.spawn(serve(stream)),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}
