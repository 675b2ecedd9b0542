//! Choosing an endpoint.
//!
//! A [`Balancer`] is compiled when the endpoints of a service change and asked for every attempt. Whether an endpoint
//! is healthy, how many requests it has and what it costs, it asks the endpoints themselves ([`Candidate`]), and only
//! those that it looks at: two of a hundred, not a hundred.
//!
//! | policy | looks at | takes |
//! |---|---|---|
//! | `RoundRobin` | the next one | each in its turn, turns of heavy ones spread evenly |
//! | `LeastRequest` | two, drawn by weight | the one with fewer requests in flight for its weight |
//! | `PeakEwma` | two, drawn by weight | the one with the lower cost for its weight |
//! | `Random` | one, drawn by weight | that one |
//! | `RingHash` | the owner of the key | that one, and the next on the ring while it is away |
//!
//! **Who may be chosen.** Endpoints that are healthy and have not been tried for this request. If all of those have
//! been tried, one that was. If less than a part of all is healthy ([`BalancerSettings::panic_below_percent`]), then health is
//! not believed and all may be chosen: a few endpoints could not carry what many did. Weight 0 is never chosen.
//!
//! **How.** Draw, look, and draw again if that one may not be chosen; after [`DRAWS`] in vain, go through all. So a
//! healthy service costs the same with three endpoints and with three hundred, and the result is exactly distributed
//! by weight over those that may be chosen (round robin with some of them away: nearly). Slow start is a draw that
//! fails more often. Nothing is allocated, nothing is locked.

mod candidate;
mod ring;
#[cfg(test)]
mod tests;
mod turns;
mod weights;

use crate::nanos::Nanos;
use crate::random::{Bits, GOLDEN, mix};
use crate::slow_start::Share;
use ring::Ring;
use turns::Turns;
use weights::Weights;

pub use candidate::{Candidate, Tried};

/// Draws before all endpoints are gone through.
const DRAWS: usize = 8;

/// Endpoints of one service, at most.
pub const MAX_ENDPOINTS: usize = 1 << 16;

/// How endpoints are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// One after the other.
    RoundRobin,
    /// The less busy of two.
    LeastRequest,
    /// The cheaper of two, by [`PeakEwma`](crate::PeakEwma).
    PeakEwma,
    /// Any.
    Random,
    /// By a key of the request; any without one.
    RingHash,
}

/// How endpoints are chosen, and when health is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BalancerSettings {
    /// The rule.
    pub policy: Policy,
    /// If less than this part of the endpoints is healthy, all are used; 0 switches that off.
    pub panic_below_percent: u8,
}

impl Default for BalancerSettings {
    fn default() -> Self {
        Self { policy: Policy::LeastRequest, panic_below_percent: 50 }
    }
}

/// An endpoint, as it is compiled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'m> {
    /// Its part of the requests, beside the weights of the others; 0 is none.
    pub weight: u32,
    /// What makes it the same endpoint tomorrow and in another process, such as its address. Places on the ring come
    /// from it alone.
    pub identity: &'m [u8],
}

/// What is to be chosen for.
#[derive(Debug, Clone, Copy)]
pub struct Query<'q> {
    /// [`stable_hash`] of the header or user that `RingHash` goes by.
    pub key: Option<u64>,
    /// Endpoints that this request has been sent to.
    pub tried: &'q Tried,
    /// The moment.
    pub now: Nanos,
    /// Any bits, other ones for each choice.
    pub random: u64,
}

/// More endpoints than [`MAX_ENDPOINTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{count} endpoints are more than {MAX_ENDPOINTS}")]
pub struct TooManyEndpoints {
    /// So many.
    pub count: usize,
}

/// The rule for a list of endpoints, compiled. Shared by all cores.
#[derive(Debug)]
pub struct Balancer {
    panic_below_percent: u8,
    weights: Weights,
    rule: Rule,
}

#[derive(Debug)]
enum Rule {
    RoundRobin(Turns),
    LeastRequest,
    PeakEwma,
    Random,
    RingHash(Ring),
}

impl Balancer {
    /// Compiles the rule for these endpoints. Allocates: 4 bytes or so for each of them, up to 512 KiB for a ring.
    ///
    /// # Errors
    /// There are more than [`MAX_ENDPOINTS`].
    pub fn new(settings: BalancerSettings, members: &[Member<'_>]) -> Result<Self, TooManyEndpoints> {
        if members.len() > MAX_ENDPOINTS {
            return Err(TooManyEndpoints { count: members.len() });
        }
        let weights = Weights::new(members);
        let rule = match settings.policy {
            Policy::RoundRobin => Rule::RoundRobin(Turns::new(members)),
            Policy::LeastRequest => Rule::LeastRequest,
            Policy::PeakEwma => Rule::PeakEwma,
            Policy::Random => Rule::Random,
            Policy::RingHash => Rule::RingHash(Ring::new(members)),
        };
        Ok(Self { panic_below_percent: settings.panic_below_percent, weights, rule })
    }

    /// Chooses one of `endpoints`, which are those that the balancer was compiled for, in the same order.
    ///
    /// Returns its place in the list, or `None` if none may be chosen. Costs a few loads while most endpoints are
    /// healthy, and grows with their number otherwise; neither locks nor allocates.
    pub fn pick<C: Candidate>(&self, endpoints: &[C], query: &Query<'_>) -> Option<usize> {
        let bits = Bits::new(query.random);
        let mut choice = Choice { balancer: self, endpoints, query, bits, shuns_tried: true, panics: None };
        choice.make().or_else(|| {
            choice.shuns_tried = false;
            if query.tried.is_empty() { None } else { choice.make() }
        })
    }
}

/// The hash of a header or user for [`Query::key`]: the same in every process and version.
///
/// Not meant against those who look for collisions; whoever may choose the key may as well send the same one again.
///
/// Source: FNV-1a with 64 bits, and a final mix because its upper bits are weak for short texts.
#[must_use]
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

/// One choice being made.
struct Choice<'c, C> {
    balancer: &'c Balancer,
    endpoints: &'c [C],
    query: &'c Query<'c>,
    bits: Bits,
    /// Whether endpoints that were tried are left out.
    shuns_tried: bool,
    /// Whether all endpoints are used, once somebody had to know.
    panics: Option<bool>,
}

impl<C: Candidate> Choice<'_, C> {
    fn make(&mut self) -> Option<usize> {
        let now = self.query.now;
        match &self.balancer.rule {
            Rule::RoundRobin(turns) => self.next_turn(turns),
            Rule::Random => self.draw(None),
            Rule::LeastRequest => self.better_of_two(|endpoint| u64::from(endpoint.in_flight())),
            Rule::PeakEwma => self.better_of_two(|endpoint| endpoint.cost(now)),
            Rule::RingHash(ring) => match self.query.key {
                Some(key) => self.owner(ring, key),
                None => self.draw(None),
            },
        }
    }

    fn next_turn(&mut self, turns: &Turns) -> Option<usize> {
        for _ in 0..DRAWS {
            let index = turns.next()?;
            // Who comes after an endpoint that is away must not get its turns as well: everybody behind moves up.
            if self.accepts(index) {
                return Some(index);
            }
        }
        self.search(None)
    }

    /// Of two endpoints the one with less load for its weight; the first one if that is equal, so that idle endpoints
    /// get their share and not the heaviest one everything.
    fn better_of_two(&mut self, load: impl Fn(&C) -> u64) -> Option<usize> {
        let first = self.draw(None)?;
        let Some(second) = self.draw(Some(first)) else { return Some(first) };
        let (one, other) = (self.endpoints.get(first)?, self.endpoints.get(second)?);
        let relative = |load: u64, weight: u64| u128::from(load) * u128::from(weight);
        let first_load = relative(load(one), self.weight(second, other));
        let second_load = relative(load(other), self.weight(first, one));
        Some(if second_load < first_load { second } else { first })
    }

    /// The next endpoint on the ring from the key on. Slow start is left out: a key has one owner.
    fn owner(&mut self, ring: &Ring, key: u64) -> Option<usize> {
        if let Some(owner) = ring.from(key).find(|index| self.allows(*index)) {
            return Some(owner);
        }
        // Most are away. The same key still finds the same endpoint: the one that it mixes best with.
        let all = 0..self.endpoints.len();
        let allowed = all.filter(|index| self.balancer.weights.get(*index) > 0 && self.allows(*index));
        allowed.max_by_key(|index| mix(key ^ ring.identity(*index).wrapping_mul(GOLDEN)))
    }

    /// An endpoint by weight, but not that one.
    fn draw(&mut self, but: Option<usize>) -> Option<usize> {
        let weights = &self.balancer.weights;
        if but.is_some() && weights.len() < 2 {
            return None;
        }
        for _ in 0..DRAWS {
            let index = weights.draw(&mut self.bits, but)?;
            if Some(index) != but && self.accepts(index) {
                return Some(index);
            }
        }
        self.search(but)
    }

    /// The same by going through all. Health may change meanwhile; then it is the last one that was seen well.
    #[cold]
    fn search(&mut self, but: Option<usize>) -> Option<usize> {
        let all = 0..self.endpoints.len();
        let mut total = 0_u64;
        for index in all.clone() {
            total = total.saturating_add(self.weight_but(index, but));
        }
        let mut rest = self.bits.below(total);
        let mut last = None;
        for index in all {
            let weight = self.weight_but(index, but);
            if weight == 0 {
                continue;
            }
            last = Some(index);
            let Some(less) = rest.checked_sub(weight) else { break };
            rest = less;
        }
        last
    }

    /// The weight of an endpoint; nothing if it may not be chosen or is that one.
    fn weight_but(&mut self, index: usize, but: Option<usize>) -> u64 {
        if Some(index) == but || !self.allows(index) {
            return 0;
        }
        self.endpoints.get(index).map_or(0, |endpoint| self.weight(index, endpoint))
    }

    /// Whether an endpoint that was drawn by its full weight is taken.
    fn accepts(&mut self, index: usize) -> bool {
        if !self.allows(index) {
            return false;
        }
        let share = self.endpoints.get(index).map_or(Share::WHOLE, |endpoint| endpoint.share(self.query.now));
        share == Share::WHOLE || self.bits.below(Share::WHOLE.get()) < share.get()
    }

    /// Whether an endpoint may be chosen.
    fn allows(&mut self, index: usize) -> bool {
        let Some(endpoint) = self.endpoints.get(index) else { return false };
        if self.shuns_tried && self.query.tried.contains(index) {
            return false;
        }
        endpoint.is_healthy(self.query.now) || self.panics()
    }

    /// Whether so few are healthy that all are used. Asked only when an endpoint is not.
    #[cold]
    fn panics(&mut self) -> bool {
        let (balancer, endpoints, now) = (self.balancer, self.endpoints, self.query.now);
        *self.panics.get_or_insert_with(|| {
            let weighed = endpoints.iter().enumerate().filter(|(index, _)| balancer.weights.get(*index) > 0);
            let (mut healthy, mut all) = (0, 0);
            for (_, endpoint) in weighed {
                all += 1;
                healthy += usize::from(endpoint.is_healthy(now));
            }
            healthy * 100 < all * usize::from(balancer.panic_below_percent)
        })
    }

    /// The weight with the share of slow start, in 65,536ths: below 2^49.
    fn weight(&self, index: usize, endpoint: &C) -> u64 {
        u64::from(self.balancer.weights.get(index)) * endpoint.share(self.query.now).get()
    }
}
