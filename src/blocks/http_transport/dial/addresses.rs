//! In what order the addresses of a host are tried.

use std::net::SocketAddr;

/// So many addresses of a host one dial tries at most: a name may have hundreds.
pub(in crate::blocks::http_transport) const MOST_TRIED: usize = 16;

/// The addresses of a name in the order in which they are tried, each once.
///
/// By RFC 8305, section 4: families by turns (its First Address Family Count is 1), so that a family
/// that does not work costs one attempt and not all of its own. It begins with the first that the
/// resolver named, which has sorted them by RFC 6724; or with `turn`, where each is to be first as
/// often as the others, in whatever order the resolver names them each time.
pub(in crate::blocks::http_transport) fn order(
    mut found: Vec<SocketAddr>,
    turn: Option<usize>,
) -> Vec<SocketAddr> {
    if let Some(turn) = turn {
        found.sort_unstable();
        found.dedup();
        let first = turn % found.len().max(1);
        found.rotate_left(first);
    }
    let begins_with_v4 = found.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|address| address.is_ipv4() == begins_with_v4);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::new();
    while ordered.len() < MOST_TRIED {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            break;
        }
        for address in pair.into_iter().flatten() {
            if !ordered.contains(&address) {
                ordered.push(address);
            }
        }
    }
    ordered.truncate(MOST_TRIED);
    ordered
}
