//! Deduplication of equal requests within one run.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::finished::FinishedRow;
use crate::journal::Record;
use crate::key::Key;
use crate::location::RowLocation;
use crate::records::RowPermit;

/// The requests of a run and the rows that wait for them. Takes about 50 bytes per answered request.
#[derive(Default)]
pub(crate) struct Dedupe(Mutex<HashMap<Key, State>>);

enum State {
    /// The request is in flight; these rows share its answer.
    Running(Vec<Follower>),
    /// Location of its answer in the journal.
    Answered(RowLocation),
}

/// A row with the same request as another row, the leader.
pub struct Follower {
    pub(crate) key: Key,
    pub(crate) index: u64,
    pub(crate) line: u64,
    pub(crate) id: Option<String>,
    /// Its row permit, held until it has its result. Empty if it was released for other rows.
    pub(crate) permit: RowPermit,
}

/// Role of a row for its request.
pub(crate) enum Role {
    /// Leader: makes the request.
    Leads(RowPermit),
    /// Follower: waits for the leader's answer.
    Waits,
    /// The request has been answered already.
    Answered(Follower, RowLocation),
}

impl Dedupe {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Assigns the role of a row that would make `request`.
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

    /// Returns true if a request is in flight or has been answered.
    pub(crate) fn knows(&self, request: &Key) -> bool {
        self.lock().contains_key(request)
    }

    /// Records that a request has ended with the result at `location`, and returns the rows that waited for
    /// it. A failed request is made again by the next row that has it.
    pub(crate) fn ended(&self, request: &Key, location: RowLocation) -> Vec<Follower> {
        let mut rows = self.lock();
        let before = if location.is_ok() {
            rows.insert(*request, State::Answered(location))
        } else {
            rows.remove(request)
        };
        match before {
            Some(State::Running(followers)) => followers,
            _ => Vec::new(),
        }
    }

    /// Number of rows waiting for `request`.
    pub(crate) fn followers(&self, request: &Key) -> usize {
        match self.lock().get(request) {
            Some(State::Running(followers)) => followers.len(),
            _ => 0,
        }
    }

    /// Number of row permits held by rows waiting for `request`.
    pub(crate) fn permits(&self, request: &Key) -> usize {
        match self.lock().get(request) {
            Some(State::Running(followers)) => {
                followers.iter().filter(|follower| follower.permit.0.is_some()).count()
            }
            _ => 0,
        }
    }

    /// Releases up to `max` row permits of rows waiting for `request`. Returns the number released.
    pub(crate) fn release(&self, request: &Key, max: usize) -> usize {
        match self.lock().get_mut(request) {
            Some(State::Running(followers)) => {
                followers.iter_mut().filter_map(|follower| follower.permit.0.take()).take(max).count()
            }
            _ => 0,
        }
    }

    /// Removes a request that ended without a result, and returns the rows that waited for it: they have no
    /// result either.
    pub(crate) fn unfinished(&self, request: &Key) -> Vec<Follower> {
        match self.lock().remove(request) {
            Some(State::Running(followers)) => followers,
            _ => Vec::new(),
        }
    }
}

impl Follower {
    /// This row with the leader's result, without latency, requests and tokens.
    pub(crate) fn row(&self, leader: &FinishedRow) -> FinishedRow {
        let mut result = leader.record.result.clone();
        result.without_effort();
        let Self { key, index, line, id, .. } = self;
        let record = Record {
            key: *key,
            index: *index,
            line: *line,
            id: id.clone(),
            latency_ms: 0,
            cost_usd: None,
            maybe_billed_usd: None,
            time: None,
            result,
        };
        FinishedRow::new(record, leader.error.clone().map(|error| error.with_attempts(0)))
    }
}
