//! What goes wrong, and when. Every call of a port is counted; chosen ones fail, before or after their
//! effect.

use std::collections::{BTreeMap, VecDeque};

/// A small generator of numbers; the same seed gives the same ones.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1))
    }

    /// SplitMix64.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn index(&mut self, len: usize) -> usize {
        let index = self.below(u64::try_from(len).unwrap());
        usize::try_from(index).unwrap()
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }
}

/// Where something can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seam {
    Lock,
    Clock,
    Sign,
    Commit,
    Message,
}

/// What goes wrong there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Refused with nothing done: no lock, no signature, nothing read.
    Refused,
    /// Done, but the answer is an error: locks taken and let go, a signature made and lost.
    AnswerLost,
    /// A token that fails so often in a row that trying once more does not help; signatures are made.
    RefusedTwice,
    /// The token says nothing until calm returns.
    Hang,
    /// Rolled back, and known to be.
    RolledBack,
    /// Outcome unknown, and nothing was kept.
    UnknownLost,
    /// Outcome unknown, and everything was kept.
    UnknownKept,
    /// Outcome unknown; it is kept later, when somebody waits for the locks.
    UnknownLate,
    /// A panic before the effect.
    PanicEarly,
    /// A panic after the effect.
    PanicLate,
    /// The process ends before the effect.
    DeathEarly,
    /// The process ends after the effect.
    DeathLate,
}

impl Seam {
    pub const ALL: [Self; 5] = [
        Self::Lock,
        Self::Clock,
        Self::Sign,
        Self::Commit,
        Self::Message,
    ];

    /// What can go wrong here. `Hang` costs real time and is asked for where it is wanted.
    pub fn faults(self) -> &'static [Fault] {
        use Fault::{
            AnswerLost, DeathEarly, DeathLate, PanicEarly, PanicLate, Refused, RefusedTwice,
            RolledBack, UnknownKept, UnknownLate, UnknownLost,
        };
        match self {
            Self::Lock => &[
                Refused, AnswerLost, PanicEarly, PanicLate, DeathEarly, DeathLate,
            ],
            Self::Clock => &[PanicEarly, DeathEarly],
            Self::Sign => &[
                Refused,
                AnswerLost,
                RefusedTwice,
                PanicEarly,
                PanicLate,
                DeathEarly,
                DeathLate,
            ],
            Self::Commit => &[
                RolledBack,
                UnknownLost,
                UnknownKept,
                UnknownLate,
                PanicEarly,
                PanicLate,
                DeathEarly,
                DeathLate,
            ],
            Self::Message => &[Refused, PanicEarly, DeathEarly],
        }
    }
}

/// Which faults a run may have.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// Of a hundred calls, so many fail.
    pub percent: u64,
    /// Errors of the ledger.
    pub ledger: bool,
    /// Errors of the token.
    pub token: bool,
    /// Panics.
    pub panics: bool,
    /// Ends of the process.
    pub deaths: bool,
}

impl Profile {
    fn allows(&self, seam: Seam, fault: Fault) -> bool {
        match fault {
            Fault::PanicEarly | Fault::PanicLate => self.panics,
            Fault::DeathEarly | Fault::DeathLate => self.deaths,
            Fault::Refused
            | Fault::AnswerLost
            | Fault::RefusedTwice
            | Fault::Hang
            | Fault::RolledBack
            | Fault::UnknownLost
            | Fault::UnknownKept
            | Fault::UnknownLate => match seam {
                Seam::Sign => self.token,
                Seam::Lock | Seam::Clock | Seam::Commit | Seam::Message => self.ledger,
            },
        }
    }
}

/// Counts calls and chooses those that fail.
#[derive(Debug)]
pub struct Chaos {
    pub counts: BTreeMap<Seam, u64>,
    pub planned: VecDeque<(Seam, u64, Fault)>,
    profile: Profile,
    rng: Rng,
    /// Faults that came about, for the reader of a failed test.
    pub happened: Vec<(Seam, u64, Fault)>,
}

impl Chaos {
    pub fn new(profile: Profile, seed: u64) -> Self {
        Self {
            counts: BTreeMap::new(),
            planned: VecDeque::new(),
            profile,
            rng: Rng::new(seed),
            happened: Vec::new(),
        }
    }

    /// From now on nothing fails.
    pub fn calm(&mut self) {
        self.profile = Profile::default();
        self.planned.clear();
    }

    /// One more call at this seam: what is to go wrong?
    pub fn call(&mut self, seam: Seam) -> Option<Fault> {
        let count = self.counts.entry(seam).or_default();
        *count += 1;
        let planned = self
            .planned
            .iter()
            .position(|(at, number, _)| *at == seam && number == count);
        let fault = match planned {
            Some(index) => self.planned.remove(index).map(|(_, _, fault)| fault),
            None if self.rng.percent(self.profile.percent) => {
                let fault = self.rng.pick(seam.faults());
                Some(fault).filter(|fault| self.profile.allows(seam, *fault))
            }
            None => None,
        };
        self.happened
            .extend(fault.map(|fault| (seam, *count, fault)));
        fault
    }
}
