//! Equal requests of one run, called once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

use crate::journal::{Location, Record};
use crate::key::Key;

/// Which requests a run has made, and which rows wait for them. About 50 bytes for each that is answered.
#[derive(Default)]
pub(crate) struct Dedupe(Mutex<HashMap<Key, State>>);

enum State {
    /// It is in flight, and these rows want its answer too.
    Running(Vec<Follower>),
    /// Where its answer is.
    Answered(Location),
}

/// A row that asks what another one asks.
pub(crate) struct Follower {
    pub(crate) key: Key,
    pub(crate) index: u64,
    pub(crate) line: u64,
    pub(crate) id: Option<String>,
    /// Its row permit, held until it has its result. `None` once it was released for other rows.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

/// What a row does about its request.
pub(crate) enum Role {
    /// It makes the request, for itself and for others.
    Leads(Option<OwnedSemaphorePermit>),
    /// Another row's answer, which is on its way, will be its own.
    Waits,
    /// The answer is there.
    Answered(Follower, Location),
}

impl Dedupe {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a row that makes `request` is to do.
    pub(crate) fn join(&self, request: Key, row: Follower) -> Role {
        match self.lock().entry(request) {
            Entry::Vacant(free) => {
                free.insert(State::Running(Vec::new()));
                Role::Leads(row.permit)
            }
            Entry::Occupied(mut taken) => match taken.get_mut() {
                State::Running(followers) => {
                    followers.push(row);
                    Role::Waits
                }
                State::Answered(location) => Role::Answered(row, *location),
            },
        }
    }

    /// Whether a request has been answered, or is on its way.
    pub(crate) fn knows(&self, request: &Key) -> bool {
        self.lock().contains_key(request)
    }

    /// A request has ended with what is at `location`: the rows that waited for it. One that failed is made again by
    /// the next row that asks for it.
    pub(crate) fn ended(&self, request: &Key, location: Location) -> Vec<Follower> {
        let mut rows = self.lock();
        let before =
            if location.ok { rows.insert(*request, State::Answered(location)) } else { rows.remove(request) };
        match before {
            Some(State::Running(followers)) => followers,
            _ => Vec::new(),
        }
    }

    /// Number of rows that wait for `request`.
    pub(crate) fn followers(&self, request: &Key) -> usize {
        match self.lock().get(request) {
            Some(State::Running(followers)) => followers.len(),
            _ => 0,
        }
    }

    /// Number of row permits that rows hold while they wait for `request`.
    pub(crate) fn permits(&self, request: &Key) -> usize {
        match self.lock().get(request) {
            Some(State::Running(followers)) => {
                followers.iter().filter(|follower| follower.permit.is_some()).count()
            }
            _ => 0,
        }
    }

    /// Releases up to `max` row permits of rows that wait for `request`. Returns how many were released.
    pub(crate) fn release(&self, request: &Key, max: usize) -> usize {
        match self.lock().get_mut(request) {
            Some(State::Running(followers)) => {
                followers.iter_mut().filter_map(|follower| follower.permit.take()).take(max).count()
            }
            _ => 0,
        }
    }

    /// A request has ended without a result: rows that waited for it stay undone as well.
    pub(crate) fn unfinished(&self, request: &Key) -> Vec<Follower> {
        match self.lock().remove(request) {
            Some(State::Running(followers)) => followers,
            _ => Vec::new(),
        }
    }
}

impl Follower {
    /// The row's own record of what another row was answered: it took no time, no request and no token.
    pub(crate) fn record(&self, of: &Record) -> Record {
        let mut result = of.result.clone();
        result.without_effort();
        let Self { key, index, line, id, .. } = self;
        Record {
            key: *key,
            index: *index,
            line: *line,
            id: id.clone(),
            latency_ms: 0,
            cost_usd: None,
            maybe_billed_usd: None,
            time: None,
            result,
        }
    }
}
