//! Student's t and the binomial distribution, both by the incomplete beta function.

use std::f64::consts::PI;

/// The probability that Student's t with `df` degrees of freedom is at least `t`.
///
/// NIST Digital Library of Mathematical Functions, 8.17; Abramowitz and Stegun, 26.5.27.
pub(super) fn upper_tail(t: f64, df: f64) -> f64 {
    let half = incomplete_beta(df / 2.0, 0.5, df / (df + t * t)) / 2.0;
    if t < 0.0 { 1.0 - half } else { half }
}

/// The probability of at least `hits` hits (1 or more) in `tries`, each of probability `share`.
///
/// Abramowitz and Stegun, 26.5.24.
pub(super) fn binomial_tail(hits: f64, tries: f64, share: f64) -> f64 {
    incomplete_beta(hits, tries - hits + 1.0, share)
}

/// The regularized incomplete beta function I_x(a, b) of positive `a` and `b`, 0 <= x <= 1.
pub(super) fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return if x <= 0.0 { 0.0 } else { 1.0 };
    }
    // The fraction converges quickly on this side of the mean only (DLMF 8.17.4).
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta_below_mean(b, a, 1.0 - x);
    }
    incomplete_beta_below_mean(a, b, x)
}

fn incomplete_beta_below_mean(a: f64, b: f64, x: f64) -> f64 {
    let front = a * x.ln() + b * (-x).ln_1p() - ln_beta(a, b);
    (front.exp() / a / fraction(a, b, x)).clamp(0.0, 1.0)
}

/// The continued fraction of DLMF 8.17.22, by Lentz's algorithm (as changed by Thompson and Barnett,
/// 1986): 1 + d1 / (1 + d2 / (1 + ...)).
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    const STEPS: u32 = 20_000; // about the square root of the larger of a and b is needed
    let nonzero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let (mut whole, mut c, mut d) = (1.0, 1.0, 0.0);
    for step in 1..=STEPS {
        let m = f64::from(step / 2);
        let term = if step % 2 == 0 {
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        } else {
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        };
        d = 1.0 / nonzero(1.0 + term * d);
        c = nonzero(1.0 + term / c);
        whole *= c * d;
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    whole
}

fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// The logarithm of the gamma function of a positive number: Stirling's series (DLMF 5.11.1), from
/// 10 on, and below by gamma(x) = gamma(x + 1) / x.
fn ln_gamma(x: f64) -> f64 {
    let (mut at, mut factor) = (x, 1.0);
    while at < 10.0 {
        factor *= at;
        at += 1.0;
    }
    let square = 1.0 / (at * at);
    // B(2k) / (2k (2k - 1)), k = 1 to 7
    let series = [
        1.0 / 12.0,
        -1.0 / 360.0,
        1.0 / 1260.0,
        -1.0 / 1680.0,
        1.0 / 1188.0,
        -691.0 / 360_360.0,
        1.0 / 156.0,
    ];
    let tail = series.iter().rev().fold(0.0, |sum, term| sum * square + term) / at;
    (at - 0.5) * at.ln() - at + (2.0 * PI).ln() / 2.0 + tail - f64::ln(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, exact: f64) -> bool {
        (found - exact).abs() <= 1e-10 * exact
    }

    #[test]
    fn the_tails_of_student_are_those_of_mpmath() {
        // mpmath 1.4.1 at 40 digits: betainc(df/2, 1/2, 0, df/(df+t^2), regularized=True) / 2
        for (df, t, exact) in [
            (1.0, 0.0, 0.5),
            (1.0, 1.0, 0.25),
            (1.0, 40.0, 0.007956089912025814),
            (2.0, 0.1, 0.4647327192070701),
            (2.0, 2.5, 0.06480586011075541),
            (2.5, 1.7, 0.10280610857994193),
            (2.5, 40.0, 7.097817145246691e-05),
            (7.3, 0.5, 0.3158967634022208),
            (7.3, 4.0, 0.0023811835821635537),
            (7.3, 40.0, 4.0185675839568614e-10),
            (14.0, 1.7, 0.05561478255518729),
            (14.0, 8.0, 6.847283400109337e-07),
            (30.0, 1.0, 0.16265430771301495),
            (30.0, 4.0, 0.00019092281804187843),
            (30.0, 40.0, 6.863022597203201e-28),
            (61.7, 2.5, 0.0075461407972345785),
            (61.7, 8.0, 2.0419309793083615e-11),
            (1000.0, 0.1, 0.46018218451180204),
            (1000.0, 1.7, 0.04472094347962002),
            (1000.0, 40.0, 5.2394260775866807e-210),
        ] {
            assert!(close(upper_tail(t, df), exact), "{df} {t} {}", upper_tail(t, df));
            assert!(close(upper_tail(-t, df), 1.0 - exact), "{df} -{t}");
        }
    }

    #[test]
    fn t_is_that_of_the_printed_tables() {
        // NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2, three digits each.
        for (df, t, exact) in [
            (1.0, 6.314, 0.05),
            (5.0, 2.571, 0.025),
            (10.0, 3.169, 0.005),
            (15.0, 2.602, 0.01),
            (30.0, 1.310, 0.10),
            (30.0, 3.385, 0.001),
            (100.0, 1.984, 0.025),
        ] {
            let found = upper_tail(t, df);
            assert!((found / exact - 1.0).abs() < 2e-3, "{df} {t} {found}");
        }
    }

    #[test]
    fn the_incomplete_beta_function_is_that_of_mpmath() {
        // mpmath 1.4.1 at 30 digits: betainc(a, b, 0, x, regularized=True)
        for (a, b, x, exact) in [
            (1.0, 1.0, 0.25, 0.25),
            (0.5, 0.5, 0.5, 0.5),
            (1.0, 3.0, 0.4, 0.784),
            (2.0, 2.0, 0.1, 0.028),
            (5.0, 1.0, 0.5, 0.03125),
            (5.0, 996.0, 0.005, 0.5599465941935599),
            (10.0, 10.0, 0.9, 0.9999960701176729),
            (100.0, 3.0, 0.99, 0.9169110148894397),
            (0.5, 30.0, 0.001, 0.19276269384046288),
            (15.0, 0.5, 0.3, 2.4456010369958765e-09),
            (1.5, 200.0, 1e-4, 0.002106405503055886),
            (400.0, 600.0, 0.35, 0.0005241730857704593),
            (3000.0, 2900.0, 0.5, 0.09645610109835598),
            (3000.0, 2900.0, 0.52, 0.9617444647839032),
            (9000.0, 2.0, 0.999, 0.001228553387771603),
        ] {
            let found = incomplete_beta(a, b, x);
            assert!(close(found, exact), "{a} {b} {x} {found}");
        }
        assert_eq!((incomplete_beta(2.0, 3.0, 0.0), incomplete_beta(2.0, 3.0, 1.0)), (0.0, 1.0));
    }

    #[test]
    fn a_binomial_tail_is_the_sum_of_its_terms() {
        // 5 or more of 10 at a half: (252 + 210 + 120 + 45 + 10 + 1) / 1024
        assert!(close(binomial_tail(5.0, 10.0, 0.5), 638.0 / 1024.0));
        assert!(close(binomial_tail(10.0, 10.0, 0.5), 1.0 / 1024.0));
        assert!(close(binomial_tail(1.0, 3.0, 0.1), 1.0 - 0.9f64.powi(3)));
    }

    #[test]
    fn large_counts_give_probabilities_too() {
        for (a, b) in [(1e6, 1e6), (1e12, 1.0), (5e8, 7e8), (0.5, 1e15), (1e18, 1e18)] {
            for x in [1e-12, 0.3, 0.5, 0.999_999] {
                let found = incomplete_beta(a, b, x);
                assert!((0.0..=1.0).contains(&found), "{a} {b} {x} {found}");
            }
        }
    }
}
