//! The exact sum of doubles, whatever their order, and their mean rounded once.
//!
//! A fixed-point number as wide as all doubles (Neal, "Fast exact summation using small and large
//! superaccumulators", 2015): 32 bits a limb, kept in 64 so that carries can wait. Because it is
//! exact, the sum of parts is the same as the sum of the whole, bit by bit.

/// 2^-1074 to 2^1024 take 66 limbs; two more hold the carries of 2^64 additions.
pub const LIMBS: usize = 68;

/// A limb takes parts below 2^53, so this many additions cannot overflow it.
const ADDITIONS_BEFORE_CARRY: u32 = 1000;

/// A running exact sum of finite doubles.
#[derive(Debug, Clone)]
pub struct ExactSum {
    /// Limb `i` counts units of 2^(32 i - 1075), signed.
    limbs: [i64; LIMBS],
    pending: u32,
}

impl Default for ExactSum {
    fn default() -> Self {
        ExactSum { limbs: [0; LIMBS], pending: 0 }
    }
}

impl PartialEq for ExactSum {
    fn eq(&self, other: &Self) -> bool {
        self.limbs() == other.limbs()
    }
}

impl ExactSum {
    /// Adds one finite value.
    #[inline]
    pub fn add(&mut self, value: f64) {
        if self.pending >= ADDITIONS_BEFORE_CARRY {
            self.carry();
        }
        self.pending += 1;
        let bits = value.to_bits();
        let exponent = (bits >> 52 & 0x7ff) as usize;
        debug_assert!(exponent < 0x7ff, "finite values only");
        let fraction = bits & ((1 << 52) - 1);
        // A subnormal has exponent 0, no leading one, and the scale of exponent 1.
        let (mantissa, exponent) =
            if exponent == 0 { (fraction, 1) } else { (fraction | 1 << 52, exponent) };
        let at = exponent >> 5;
        let shift = exponent & 31;
        let low = (mantissa << shift & 0xffff_ffff) as i64;
        let high = (mantissa >> (32 - shift)) as i64;
        let sign = (bits as i64) >> 63; // 0 or -1
        self.limbs[at & 63] += (low ^ sign) - sign;
        self.limbs[(at & 63) + 1] += (high ^ sign) - sign;
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &ExactSum) {
        let theirs = other.limbs();
        self.carry();
        for (mine, theirs) in self.limbs.iter_mut().zip(theirs) {
            *mine += theirs;
        }
        self.carry();
    }

    /// The canonical limbs, least first: each in 0 to 2^32 - 1 but the last, which has the sign.
    pub fn limbs(&self) -> [i64; LIMBS] {
        let mut copy = self.clone();
        copy.carry();
        copy.limbs
    }

    /// The sum that [`limbs`](Self::limbs) described; `None` when they are not canonical.
    pub fn from_limbs(limbs: [i64; LIMBS]) -> Option<ExactSum> {
        let (top, rest) = limbs.split_last()?;
        let whole = rest.iter().all(|limb| (0..1 << 32).contains(limb));
        (whole && (-(1 << 32)..1 << 32).contains(top)).then_some(ExactSum { limbs, pending: 0 })
    }

    fn carry(&mut self) {
        let mut over = 0;
        for limb in &mut self.limbs[..LIMBS - 1] {
            let total = *limb + over;
            *limb = total & 0xffff_ffff;
            over = total >> 32;
        }
        self.limbs[LIMBS - 1] += over;
        self.pending = 0;
    }

    /// The sum over `count` (not 0), rounded once to the nearest double, ties to even.
    pub fn mean(&self, count: u64) -> f64 {
        let mut limbs = self.limbs();
        let negative = limbs[LIMBS - 1] < 0;
        if negative {
            limbs.iter_mut().for_each(|limb| *limb = -*limb);
            let mut negated = ExactSum { limbs, pending: 0 };
            negated.carry();
            limbs = negated.limbs;
        }
        // Long division, most significant limb first; two limbs more give the bits to round with.
        let mut quotient = [0u32; LIMBS + 2];
        let mut rest: u128 = 0;
        for (at, digit) in quotient.iter_mut().enumerate() {
            let limb = LIMBS.checked_sub(at + 1).map_or(0, |index| limbs[index]);
            let dividend = rest << 32 | limb as u128;
            // Only the first limb can be above 32 bits, and no mean of doubles is that large.
            *digit = (dividend / u128::from(count)) as u32;
            rest = dividend % u128::from(count);
        }
        let magnitude = round(&quotient, rest != 0);
        if negative { -magnitude } else { magnitude }
    }
}

/// The double nearest to a fixed-point number whose most significant 32 bits come first and whose
/// last two digits lie below the unit 2^-1075; `sticky` says that more follows.
fn round(digits: &[u32; LIMBS + 2], sticky: bool) -> f64 {
    let Some(first) = digits.iter().position(|&digit| digit != 0) else { return 0.0 };
    let total = 32 * digits.len();
    let bit = |at: usize| at < total && digits[at / 32] >> (31 - at % 32) & 1 == 1;
    let top = 32 * first + digits[first].leading_zeros() as usize;
    // Bit `at` weighs 2^(total - 65 - at - 1075); the last kept one must not be below 2^-1074.
    let last = (top + 52).min(total - 66);
    let mut mantissa: u64 = 0;
    for at in top.min(last + 1)..=last {
        mantissa = mantissa << 1 | u64::from(bit(at));
    }
    let half = bit(last + 1);
    let below = sticky || (last + 2..total).any(bit);
    if half && (below || mantissa & 1 == 1) {
        mantissa += 1;
    }
    let exponent = total as i32 - 65 - last as i32 - 1075;
    // In two exact steps: 2^exponent alone may be outside the range of doubles.
    let scaled = mantissa as f64 * 2f64.powi(exponent / 2);
    scaled * 2f64.powi(exponent - exponent / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(values: &[f64]) -> ExactSum {
        let mut sum = ExactSum::default();
        values.iter().for_each(|&value| sum.add(value));
        sum
    }

    #[test]
    fn what_a_running_sum_loses_is_kept() {
        assert_eq!(sum(&[1e100, 1.0, -1e100]).mean(1), 1.0);
        assert_eq!(sum(&[0.1; 10]).mean(1), 1.0);
        assert_eq!(sum(&[f64::MAX, f64::MAX, f64::MAX]).mean(3), f64::MAX);
        assert_eq!(sum(&[f64::MAX, -f64::MAX]).mean(2), 0.0);
        assert_eq!(sum(&[5e-324, 5e-324]).mean(2), 5e-324);
        assert_eq!(sum(&[5e-324, 1e-323]).mean(2), 1e-323); // 1.5 units: the tie goes to even
        assert_eq!(sum(&[5e-324]).mean(2), 0.0);
        assert_eq!(sum(&[-1.5, -2.5]).mean(2), -2.0);
        assert_eq!(sum(&[1.0]).mean(3), 1.0 / 3.0);
    }

    #[test]
    fn limbs_that_nobody_wrote_are_refused() {
        let mut limbs = sum(&[1.5, -7e200]).limbs();
        assert_eq!(ExactSum::from_limbs(limbs), Some(sum(&[1.5, -7e200])));
        limbs[3] = -1;
        assert_eq!(ExactSum::from_limbs(limbs), None);
        limbs[3] = 1 << 32;
        assert_eq!(ExactSum::from_limbs(limbs), None);
    }

    proptest! {
        #[test]
        fn one_value_comes_back(value in any::<f64>()) {
            prop_assume!(value.is_finite());
            prop_assert_eq!(sum(&[value]).mean(1), value);
            prop_assert_eq!(sum(&[value; 3000]).mean(3000), value);
        }

        #[test]
        fn whole_numbers_agree_with_integers(
            values in proptest::collection::vec(-(1i64 << 52)..1 << 52, 1..50),
        ) {
            let total: i128 = values.iter().map(|&v| i128::from(v)).sum();
            let doubles: Vec<f64> = values.iter().map(|&v| v as f64).collect();
            prop_assert_eq!(sum(&doubles).mean(1), total as f64);
        }

        #[test]
        fn order_and_parts_do_not_matter(
            values in proptest::collection::vec(any::<f64>(), 1..80), cut in 0usize..80,
        ) {
            let values: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
            let cut = cut.min(values.len());
            let whole = sum(&values);
            let mut parts = sum(&values[cut..]);
            parts.merge(&sum(&values[..cut]));
            prop_assert_eq!(parts.limbs(), whole.limbs());
        }
    }
}
