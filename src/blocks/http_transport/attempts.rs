//! The attempts of one request: a retry around a hedge around a breaker around the pool.

use std::sync::Arc;

use http::{Request, Response};

use super::body::Body;
use super::error::{Phase, TransportError};
use super::request_body::TransportBody;
use super::safeguards::Safeguard;
use super::send::{Call, SENT, attempt};
use super::shared::Shared;
use crate::ground::outcome::Verdict;
use crate::ground::time;
use crate::retry::{AttemptError, GaveUp, Idempotency, Retry, RetryError};

type Answer = Result<Response<Body>, TransportError>;

impl Safeguard {
    pub(super) async fn send(
        &self,
        shared: &Arc<Shared>,
        call: &Call,
        outgoing: Option<Request<TransportBody>>,
    ) -> Answer {
        let Some(request) = outgoing else { return Err(SENT) };
        match &self.retry {
            None => self.hedged(shared, call, request).await,
            Some(retry) => {
                // Boxed, as below: who does not ask for it does not carry it.
                let retried = Box::pin(self.retried(retry, shared, call, request));
                retried.await.map_err(into_transport_error)
            }
        }
    }

    async fn retried(
        &self,
        retry: &Retry,
        shared: &Arc<Shared>,
        call: &Call,
        mut request: Request<TransportBody>,
    ) -> Result<Response<Body>, RetryError<TransportError>> {
        let mut run = retry.begin(call.idempotency);
        run.ends_by(call.allowance.end());
        loop {
            let spare = call.replay(&request);
            let (_, until) = run.attempt();
            let result = time::until(until, Box::pin(self.hedged(shared, call, request))).await;
            let result = result.or_else(|| {
                // Not the attempt's time was over, but that of all: it says so itself, if asked.
                let is_over = call.allowance.is_over(time::now());
                is_over.then_some(Err(TransportError::TotalTimeout { phase: Phase::Header }))
            });
            let verdict = result.as_ref().map_or(Verdict::failure(), Verdict::of_response);
            let next = match &spare {
                Some(_) => run.next(verdict),
                None => run.next(verdict.stop()),
            };
            let at = match next {
                Ok(at) => at,
                Err(why) => return run.end(result, why, verdict),
            };
            // The connection is not held meanwhile.
            drop(result);
            // The attempt after a cut is refused.
            let _ = shared.door.unless_cut(time::sleep_until(Some(at))).await;
            // There is one, or there would be no next time.
            let Some(again) = spare else { return run.end(None, GaveUp::Permanent, verdict) };
            request = again;
        }
    }

    async fn hedged(
        &self,
        shared: &Arc<Shared>,
        call: &Call,
        request: Request<TransportBody>,
    ) -> Answer {
        let Some(hedge) = &self.hedge else { return self.admitted(shared, call, request).await };
        let may_be_repeated = call.idempotency == Idempotency::Idempotent;
        let spare = if may_be_repeated { call.replay(&request) } else { None };
        let idempotency = match spare {
            Some(_) => Idempotency::Idempotent,
            None => Idempotency::AtMostOnce,
        };
        let mut requests = [Some(request), spare].into_iter().flatten();
        let hedged = hedge.run(idempotency, Verdict::of_response, |_| {
            let next = requests.next();
            async move {
                match next {
                    Some(request) => self.admitted(shared, call, request).await,
                    // A hedge makes no more attempts than it was told it may.
                    None => Err(TransportError::InvalidRequest("it can't be sent again")),
                }
            }
        });
        Box::pin(hedged).await
    }

    async fn admitted(
        &self,
        shared: &Arc<Shared>,
        call: &Call,
        request: Request<TransportBody>,
    ) -> Answer {
        let Some(breaker) = &self.breaker else {
            return attempt(shared, call, &mut Some(request), time::now()).await;
        };
        let permit = breaker
            .try_acquire()
            .map_err(|open| TransportError::CircuitOpen { host: self.host().into(), open })?;
        let answer = attempt(shared, call, &mut Some(request), time::now()).await;
        permit.report(Verdict::of_response(&answer));
        answer
    }
}

/// The only attempt's own error, where there was no other and none would have made sense.
fn into_transport_error(error: RetryError<TransportError>) -> TransportError {
    let is_its_own = matches!(error.why(), GaveUp::Permanent | GaveUp::AtMostOnce);
    if error.attempts() > 1 || !is_its_own {
        return TransportError::GaveUp(Box::new(error));
    }
    // It was not dropped: what is is worth a further attempt.
    match error.into_last() {
        AttemptError::Inner(error) => error,
        AttemptError::TimedOut => TransportError::HeaderTimeout,
    }
}
