//! The places of a time taken: its bucket, a hundredth wide to either side, and its step of 25 %.
//!
//! Times are whole nanoseconds. An octave has 35 buckets: 2^(1/35) is 1.02, so that no time is
//! farther than 1 % from the middle of its bucket (as in DDSketch, see `stats::sketch`); the bounds
//! are whole numbers of 2^-20, the same on every machine.

/// How many buckets an octave has.
const PER_OCTAVE: usize = 35;
/// 2^(1/35)
const RATIO: f64 = 1.020_001_609_421_199;
const FRACTION_BITS: u32 = 20;
const ONE: u32 = 1 << FRACTION_BITS;

/// How many buckets there are: one for zero, and those of 64 octaves.
pub(super) const BUCKETS: usize = 1 + 64 * PER_OCTAVE;

/// Where the buckets of an octave begin, behind the one, and where it ends.
const BOUNDS: [u32; PER_OCTAVE + 1] = {
    let mut bounds = [0; PER_OCTAVE + 1];
    let (mut at, mut power) = (1, RATIO);
    while at < PER_OCTAVE {
        bounds[at] = ((power - 1.0) * ONE as f64 + 0.5) as u32;
        power *= RATIO;
        at += 1;
    }
    bounds[PER_OCTAVE] = ONE;
    bounds
};

/// The bucket in which each 64th of an octave begins; none has more than one bound in it.
const FIRST: [u8; 64] = {
    let mut first = [0; 64];
    let mut at = 0;
    while at < 64 {
        let begins = (at as u32) << (FRACTION_BITS - 6);
        let mut bucket = 0;
        while BOUNDS[bucket + 1] <= begins {
            bucket += 1;
        }
        first[at] = bucket as u8;
        at += 1;
    }
    first
};

/// The bucket of a time.
#[inline(always)]
pub(super) fn bucket(nanos: u64) -> usize {
    if nanos == 0 {
        return 0;
    }
    let zeros = nanos.leading_zeros();
    let fraction = (nanos << zeros << 1 >> (64 - FRACTION_BITS)) as u32;
    let first = usize::from(FIRST[(fraction >> (FRACTION_BITS - 6)) as usize & 63]);
    let within = first + usize::from(fraction >= BOUNDS[(first + 1).min(PER_OCTAVE)]);
    1 + (63 - zeros as usize) * PER_OCTAVE + within
}

/// The time in the middle of a bucket, in nanoseconds.
pub(super) fn middle(bucket: usize) -> f64 {
    let Some(place) = bucket.checked_sub(1) else { return 0.0 };
    let octave = 2f64.powi((place / PER_OCTAVE) as i32);
    let bound = |at: usize| octave * (1.0 + f64::from(BOUNDS[at]) / f64::from(ONE));
    let (low, high) = (bound(place % PER_OCTAVE), bound(place % PER_OCTAVE + 1));
    2.0 * low * high / (low + high)
}

/// How many steps there are, the one below the first included.
pub(super) const STEPS: usize = 169;

/// Where each step begins: the first at nothing, step i from 1 on at 1.25^(i - 1) microseconds.
const BEGINS: [u64; STEPS + 1] = {
    let mut begins = [u64::MAX; STEPS + 1];
    let (mut at, mut power) = (1, 1000.0);
    begins[0] = 0;
    while at < STEPS {
        // Rounded up: a double holds far more than the whole nanoseconds of any log.
        let floor = power as u64;
        begins[at] = if (floor as f64) < power { floor + 1 } else { floor };
        power *= 1.25;
        at += 1;
    }
    begins
};

/// The step of a time, one higher than it is told outside: 0 is below a microsecond.
#[inline(always)]
pub(super) fn step(nanos: u64) -> u8 {
    let zeros = (nanos | 1).leading_zeros() as usize;
    let eighth = (nanos << zeros << 1 >> 61) as usize;
    let first = LEAST_STEP[(63 - zeros) * 8 + eighth];
    let next = usize::from(first) + 1;
    first + u8::from(next < STEPS && nanos >= BEGINS[next])
}

/// The step in which each eighth of an octave begins; none has more than one beginning in it, for
/// an eighth is 12.5 % at most.
const LEAST_STEP: [u8; 64 * 8] = {
    let mut least = [0; 64 * 8];
    let (mut at, mut step) = (0, 0);
    while at < 64 * 8 {
        let begins = (1u64 << (at / 8)) as u128 * (8 + at as u128 % 8) / 8;
        while step + 1 < STEPS && BEGINS[step + 1] as u128 <= begins {
            step += 1;
        }
        least[at] = step as u8;
        at += 1;
    }
    least
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ends_have_places_of_their_own() {
        assert_eq!((bucket(0), bucket(1), bucket(u64::MAX)), (0, 1, BUCKETS - 1));
        assert_eq!((step(0), step(999), step(1000), step(1249), step(1250)), (0, 0, 1, 1, 2));
        assert_eq!((step(1_000_000_000), usize::from(step(u64::MAX)) < STEPS), (62, true));
    }

    proptest! {
        #[test]
        fn no_time_is_farther_than_a_hundredth_from_its_bucket(
            nanos in prop_oneof![1u64..5000, any::<u64>(), (0u32..64).prop_map(|bits| 1 << bits)],
        ) {
            let nanos = nanos.max(1);
            let error = (middle(bucket(nanos)) / nanos as f64 - 1.0).abs();
            prop_assert!(error <= 0.01, "{} {}", nanos, error);
            prop_assert!(bucket(nanos - 1) <= bucket(nanos));
        }

        #[test]
        fn a_step_is_what_its_logarithm_says(micros in 1.0f64..1e12) {
            let nanos = (micros * 1000.0) as u64;
            let exact = (nanos as f64 / 1000.0).ln() / 1.25f64.ln();
            let near_an_edge = (exact - exact.round()).abs() < 1e-6;
            prop_assert!(near_an_edge || f64::from(step(nanos)) == exact.floor() + 1.0);
        }
    }
}
