//! In debug builds: where the values were taken that are out. In others, nothing.

use std::panic::Location;

#[cfg(debug_assertions)]
pub(super) use noted::{Place, Places};
#[cfg(not(debug_assertions))]
pub(super) use unnoted::{Place, Places};

/// A line of code, and how many values that were taken there are out.
pub(super) type Out = (&'static Location<'static>, usize);

#[cfg(debug_assertions)]
mod noted {
    use super::{Location, Out};
    use crate::ground::primitives::Mutex;

    /// So many lines are told apart; values of the lines beyond are not noted.
    const LINES: usize = 64;

    #[derive(Debug)]
    pub(in super::super) struct Places(Mutex<Vec<Out>>);

    #[derive(Clone, Copy, Debug)]
    pub(in super::super) struct Place(&'static Location<'static>);

    impl Place {
        #[track_caller]
        pub(in super::super) fn here() -> Self {
            Self(Location::caller())
        }
    }

    impl Places {
        pub(in super::super) fn new() -> Self {
            Self(Mutex::new(Vec::with_capacity(LINES)))
        }

        pub(in super::super) fn went_out(&self, Place(place): Place) {
            let mut lines = self.0.lock();
            if let Some(line) = lines.iter_mut().find(|line| line.0 == place) {
                line.1 += 1;
            } else if lines.len() < LINES {
                lines.push((place, 1));
            }
        }

        pub(in super::super) fn came_back(&self, Place(place): Place) {
            let mut lines = self.0.lock();
            if let Some(line) = lines.iter_mut().find(|line| line.0 == place) {
                // A value that was not noted may come back to a line that is, once others left it.
                line.1 = line.1.saturating_sub(1);
            }
            lines.retain(|line| line.1 > 0);
        }

        pub(in super::super) fn all(&self) -> Vec<Out> {
            self.0.lock().clone()
        }
    }
}

#[cfg(not(debug_assertions))]
mod unnoted {
    use super::Out;

    #[derive(Debug)]
    pub(in super::super) struct Places;

    #[derive(Clone, Copy, Debug)]
    pub(in super::super) struct Place;

    impl Place {
        #[inline]
        pub(in super::super) fn here() -> Self {
            Self
        }
    }

    impl Places {
        pub(in super::super) fn new() -> Self {
            Self
        }

        #[inline]
        pub(in super::super) fn went_out(&self, _: Place) {}

        #[inline]
        pub(in super::super) fn came_back(&self, _: Place) {}

        pub(in super::super) fn all(&self) -> Vec<Out> {
            Vec::new()
        }
    }
}
