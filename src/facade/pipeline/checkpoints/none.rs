//! Without the feature `json` nothing is kept. These types have no values, so what the rest of the
//! pipeline does with them costs nothing.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::core::Core;
use super::intent::Intent;
use super::run::{Effects, EndedRun, Run, RunId};
use super::shared::{Body, Guard, Shared};
use super::ticket::Ticket;
use crate::ground::time::Instant;
use crate::{Ending, Refused};

#[derive(Debug)]
pub(super) struct Keeper<P>(Infallible, PhantomData<fn(P)>);

impl<P> Keeper<P> {
    pub(super) fn keep(&self, _: &Intent<P>) -> Result<Box<Kept>, Infallible> {
        match self.0 {}
    }

    pub(super) fn ring(&self) {
        match self.0 {}
    }

    pub(super) fn ring_out(&self) {
        match self.0 {}
    }
}

#[derive(Clone, Debug)]
pub(super) enum Kept {}

impl Kept {
    pub(super) fn saving(&self) -> Saving {
        match *self {}
    }

    pub(super) fn add(&mut self, _: Checkpoint) {
        match *self {}
    }

    pub(super) fn is_condemned(&self) -> bool {
        match *self {}
    }

    pub(super) fn ended(self) {
        match self {}
    }
}

#[derive(Clone, Debug)]
pub(super) enum Saving {}

#[derive(Debug)]
pub(super) enum Checkpoint {}

#[derive(Debug)]
pub(super) enum Undecodable {}

#[derive(Debug)]
pub(super) enum Past {}

impl Past {
    pub(super) fn covers(&self, _: usize) -> bool {
        match *self {}
    }
}

#[derive(Debug)]
pub(super) struct Former<B>(Infallible, PhantomData<fn(B)>);

#[derive(Debug)]
pub(super) enum Pages {}

impl Pages {
    pub(super) fn mark(&mut self, _: &str, _: Instant) -> u64 {
        match *self {}
    }

    pub(super) fn is_unrestored(&self) -> bool {
        match *self {}
    }

    pub(super) fn is_overwhelmed(&self) -> bool {
        match *self {}
    }

    pub(super) fn is_due(&self, _: Instant) -> bool {
        match *self {}
    }

    pub(super) fn is_clean(&self) -> bool {
        match *self {}
    }
}

impl<B> Core<B> {
    pub(super) fn unkeep(&mut self, _: RunId, _: &mut Run<B>, _: Ending, _: Instant) {}

    pub(super) fn before(&self, _: RunId) -> Option<Infallible> {
        None
    }

    pub(super) fn hold(
        &mut self,
        _: RunId,
        _: Option<Infallible>,
        ended: EndedRun<B>,
    ) -> Option<EndedRun<B>> {
        Some(ended)
    }

    pub(super) fn falls_back(
        &mut self,
        _: RunId,
        _: Ending,
        _: Instant,
        _: &mut Effects<B>,
    ) -> bool {
        false
    }
}

impl<B> Run<B> {
    pub(super) fn former_tickets(&self) -> u64 {
        0
    }

    pub(super) fn former_weight(&self) -> u32 {
        0
    }
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Shared<P, O> {
    pub(super) fn former_waits(_: &Run<Body<P, O>>, _: u64) -> Option<(usize, u32)> {
        None
    }

    pub(super) fn follow_former(_: &mut Run<Body<P, O>>, _: u64) -> Option<Arc<Notify>> {
        None
    }

    pub(super) fn cancel_former(&self, _: Guard<'_, P, O>, _: RunId, _: u64, _: Instant) {}
}

pub(super) async fn on_disk<P, O>(ticket: Ticket<P, O>) -> Result<Ticket<P, O>, Refused<Intent<P>>>
where
    P: Send + Sync + 'static,
    O: Send + Sync + 'static,
{
    Ok(ticket)
}

pub(super) fn pages<P>(_: Option<&Keeper<P>>) -> Option<Pages> {
    None
}

pub(super) fn start<P, O>(_: &Arc<Shared<P, O>>, _: &Handle)
where
    P: Send + Sync + 'static,
    O: Send + Sync + 'static,
{
}
