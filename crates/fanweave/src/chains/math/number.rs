//! Numbers of the evaluator: exact integers and 64-bit floats.

use std::cmp::Ordering;
use std::fmt;

use num_bigint::{BigInt, Sign};
use num_integer::Integer;
use num_traits::{FromPrimitive, One, Signed, ToPrimitive, Zero};

/// Maximum bits of an integer. Source: the digits that fit into [`MAX_INPUT_BYTES`](super::MAX_INPUT_BYTES),
/// with some margin.
const MAX_BITS: u64 = 16_384;

/// The value of an expression.
///
/// `Display` writes integers in full and floats with the fewest digits that identify them.
///
/// ```
/// use fanweave::chains::math::{Number, evaluate};
///
/// assert_eq!(evaluate("10**30 + 1")?.to_string(), "1000000000000000000000000000001");
/// assert_eq!(evaluate("7 / 2")?, Number::Float(3.5));
/// assert_eq!(evaluate("2 < 3")?, Number::Truth(true));
/// # Ok::<_, fanweave::chains::math::MathError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Number {
    /// An exact integer.
    Whole(BigInt),
    /// Any other finite number.
    Float(f64),
    /// The result of a comparison.
    Truth(bool),
}

use Number::{Float, Truth, Whole};

/// The result of an operation, or the reason why it failed.
pub(super) type Outcome = Result<Number, String>;

impl Number {
    /// The nearest float. A comparison is 1 or 0.
    ///
    /// ```
    /// # use fanweave::chains::math::evaluate;
    /// assert_eq!(evaluate("2**70")?.to_f64(), 2f64.powi(70));
    /// # Ok::<_, fanweave::chains::math::MathError>(())
    /// ```
    pub fn to_f64(&self) -> f64 {
        match self {
            Whole(n) => n.to_f64().unwrap_or(f64::NAN),
            Float(x) => *x,
            Truth(truth) => f64::from(u8::from(*truth)),
        }
    }

    /// The finite float for an operation, or the reason why it cannot be used.
    fn float(&self) -> Result<f64, String> {
        match self {
            Truth(_) => Err("a comparison is not a number".to_owned()),
            number => finite(number.to_f64()),
        }
    }

    fn is_zero(&self) -> bool {
        match self {
            Whole(n) => n.is_zero(),
            Float(x) => *x == 0.0,
            Truth(_) => false,
        }
    }
}

/// Maximum argument of a factorial. The factorial of 1,700 has about as many bits as a number may have.
const MAX_FACTORIAL: u32 = 2000;

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whole(n) => write!(f, "{n}"),
            Float(x) if *x != 0.0 && !(1e-5..1e16).contains(&x.abs()) => write!(f, "{x:e}"),
            Float(x) => write!(f, "{x}"),
            Truth(truth) => write!(f, "{truth}"),
        }
    }
}

fn finite(x: f64) -> Result<f64, String> {
    if x.is_nan() {
        Err("the result is not a real number".to_owned())
    } else if x.is_infinite() {
        Err("the result is too large".to_owned())
    } else {
        Ok(x)
    }
}

/// Checks the float result of an operation.
pub(super) fn float(x: f64) -> Outcome {
    finite(x).map(Float)
}

/// Checks the integer result of an operation.
fn whole(n: BigInt) -> Outcome {
    if n.bits() > MAX_BITS { Err("the result is too large".to_owned()) } else { Ok(Whole(n)) }
}

/// Parses a literal: digits, optionally with a point or an exponent.
pub(super) fn literal(text: &str) -> Outcome {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return whole(text.parse().map_err(|_| "this is not a number".to_owned())?);
    }
    float(text.parse().map_err(|_| "this is not a number".to_owned())?)
}

pub(super) fn add(a: &Number, b: &Number) -> Outcome {
    match (a, b) {
        (Whole(a), Whole(b)) => whole(a + b),
        _ => float(a.float()? + b.float()?),
    }
}

pub(super) fn subtract(a: &Number, b: &Number) -> Outcome {
    match (a, b) {
        (Whole(a), Whole(b)) => whole(a - b),
        _ => float(a.float()? - b.float()?),
    }
}

pub(super) fn multiply(a: &Number, b: &Number) -> Outcome {
    match (a, b) {
        (Whole(a), Whole(b)) => whole(a * b),
        _ => float(a.float()? * b.float()?),
    }
}

fn divisor(b: &Number) -> Result<(), String> {
    if b.is_zero() { Err("division by zero".to_owned()) } else { Ok(()) }
}

/// True division. Integers that divide without a remainder stay integers.
pub(super) fn divide(a: &Number, b: &Number) -> Outcome {
    divisor(b)?;
    match (a, b) {
        (Whole(a), Whole(b)) => {
            let (quotient, rest) = a.div_rem(b);
            if rest.is_zero() { whole(quotient) } else { float(ratio(a, b)) }
        }
        _ => float(a.float()? / b.float()?),
    }
}

/// The float nearest to `a / b`, even if neither fits into a float.
fn ratio(a: &BigInt, b: &BigInt) -> f64 {
    const EXACT: u64 = 1 << 53;
    if let (Some(x), Some(y)) = (a.to_i64(), b.to_i64())
        && x.unsigned_abs() <= EXACT
        && y.unsigned_abs() <= EXACT
    {
        // Both are exact as floats, so the quotient is rounded only once.
        #[expect(clippy::cast_precision_loss, reason = "both are at most 2^53")]
        return x as f64 / y as f64;
    }
    // At least 66 bits of quotient. The last bit is set if there is a remainder.
    let shift = 66 + b.bits().cast_signed() - a.bits().cast_signed();
    let (top, bottom) = if shift >= 0 { (a.abs() << shift, b.abs()) } else { (a.abs(), b.abs() << -shift) };
    let (mut quotient, rest) = top.div_rem(&bottom);
    if !rest.is_zero() {
        quotient |= BigInt::one();
    }
    let magnitude = scale(quotient.to_f64().unwrap_or(f64::INFINITY), -shift);
    if (a.sign() == Sign::Minus) == (b.sign() == Sign::Minus) { magnitude } else { -magnitude }
}

/// `x` times 2 to the power of `exponent`, in steps that floats can express.
fn scale(mut x: f64, mut exponent: i64) -> f64 {
    while exponent != 0 && x != 0.0 && x.is_finite() {
        let step = exponent.clamp(-1000, 1000);
        x *= 2f64.powi(i32::try_from(step).unwrap_or(0));
        exponent -= step;
    }
    x
}

/// Division rounded down.
pub(super) fn divide_down(a: &Number, b: &Number) -> Outcome {
    divisor(b)?;
    match (a, b) {
        (Whole(a), Whole(b)) => whole(a.div_floor(b)),
        _ => float(divide_and_rest(a.float()?, b.float()?).0),
    }
}

/// The remainder of division rounded down. It has the sign of the divisor.
pub(super) fn rest(a: &Number, b: &Number) -> Outcome {
    divisor(b)?;
    match (a, b) {
        (Whole(a), Whole(b)) => whole(a.mod_floor(b)),
        _ => float(divide_and_rest(a.float()?, b.float()?).1),
    }
}

/// Quotient and remainder. The quotient is computed from the remainder, which is exact, so that they agree.
fn divide_and_rest(a: f64, b: f64) -> (f64, f64) {
    let mut rest = a % b;
    if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
        rest += b;
    }
    let quotient = ((a - rest) / b).round();
    (quotient, rest)
}

/// `base` to the power of `exponent`. Fails before computing a result that would be too large.
pub(super) fn power(base: &Number, exponent: &Number) -> Outcome {
    if let (Whole(base), Whole(exponent)) = (base, exponent)
        && !exponent.is_negative()
    {
        if exponent.is_zero() || base.is_one() {
            return whole(BigInt::one());
        }
        if base.is_zero() {
            return whole(BigInt::zero());
        }
        if *base == -BigInt::one() {
            return whole(if exponent.is_even() { BigInt::one() } else { -BigInt::one() });
        }
        let small = exponent.to_u32().filter(|n| u64::from(*n).saturating_mul(base.bits() - 1) <= MAX_BITS);
        let Some(small) = small else { return Err("the result is too large".to_owned()) };
        return whole(base.pow(small));
    }
    if base.is_zero() && exponent.float()? < 0.0 {
        return Err("division by zero".to_owned());
    }
    float(base.float()?.powf(exponent.float()?))
}

pub(super) fn negate(a: &Number) -> Outcome {
    match a {
        Whole(n) => Ok(Whole(-n)),
        _ => float(-a.float()?),
    }
}

/// Compares `a` with `b`, exactly also between integers and floats.
pub(super) fn compare(a: &Number, b: &Number) -> Result<Ordering, String> {
    match (a, b) {
        (Whole(a), Whole(b)) => Ok(a.cmp(b)),
        (Whole(a), Float(b)) => Ok(compare_mixed(a, *b)),
        (Float(a), Whole(b)) => Ok(compare_mixed(b, *a).reverse()),
        _ => Ok(a.float()?.total_cmp(&(b.float()? + 0.0))).map(|order| {
            // Positive and negative zero are equal.
            if a.is_zero() && b.is_zero() { Ordering::Equal } else { order }
        }),
    }
}

fn compare_mixed(a: &BigInt, b: f64) -> Ordering {
    let down = BigInt::from_f64(b.floor()).unwrap_or_default();
    a.cmp(&down).then(if b > b.floor() { Ordering::Less } else { Ordering::Equal })
}

pub(super) fn absolute(a: &Number) -> Outcome {
    match a {
        Whole(n) => Ok(Whole(n.abs())),
        _ => float(a.float()?.abs()),
    }
}

/// The square root. That of a perfect square is an integer.
pub(super) fn square_root(a: &Number) -> Outcome {
    if let Whole(n) = a
        && !n.is_negative()
    {
        let root = n.sqrt();
        if &root * &root == *n {
            return whole(root);
        }
    }
    float(a.float()?.sqrt())
}

/// Rounds to an integer with `rounding`.
pub(super) fn to_whole(a: &Number, rounding: fn(f64) -> f64) -> Outcome {
    match a {
        Whole(n) => Ok(Whole(n.clone())),
        _ => BigInt::from_f64(rounding(a.float()?))
            .map_or_else(|| Err("the result is too large".to_owned()), whole),
    }
}

/// Rounds to a number of decimal places, half to even.
pub(super) fn round_to(a: &Number, digits: &Number) -> Outcome {
    let digits = match digits {
        Whole(n) => n.to_usize().filter(|n| *n <= 15),
        _ => None,
    };
    let digits = digits.ok_or("round takes from 0 to 15 decimal places")?;
    match a {
        Whole(n) => Ok(Whole(n.clone())),
        // The standard library formats that many decimal places, rounded from the exact value.
        _ => {
            float(format!("{:.digits$}", a.float()?).parse().map_err(|_| "this is not a number".to_owned())?)
        }
    }
}

/// The product of the integers from 1 to `a`.
pub(super) fn factorial(a: &Number) -> Outcome {
    let n = match a {
        Whole(n) if n.is_negative() => return Err("factorials need an integer of at least 0".to_owned()),
        Whole(n) => n.to_u32().filter(|n| *n <= MAX_FACTORIAL).ok_or("the result is too large")?,
        _ => return Err("factorials need an integer of at least 0".to_owned()),
    };
    whole((2..=n).fold(BigInt::one(), |product, factor| product * factor))
}

/// Combines integers.
pub(super) fn fold_whole(values: &[Number], combine: fn(&BigInt, &BigInt) -> BigInt) -> Outcome {
    let mut all: Option<BigInt> = None;
    for value in values {
        let Whole(value) = value else { return Err("it needs integers".to_owned()) };
        let next = all.map_or_else(|| value.abs(), |all| combine(&all, value));
        let Whole(next) = whole(next)? else { return Err("it needs integers".to_owned()) };
        all = Some(next);
    }
    Ok(Whole(all.unwrap_or_default()))
}

pub(super) fn greatest_divisor(a: &BigInt, b: &BigInt) -> BigInt {
    a.gcd(b)
}

pub(super) fn least_multiple(a: &BigInt, b: &BigInt) -> BigInt {
    a.lcm(b)
}

/// A function of floats.
pub(super) fn of_float(a: &Number, function: fn(f64) -> f64) -> Outcome {
    float(function(a.float()?))
}

/// A function of two floats.
pub(super) fn of_floats(a: &Number, b: &Number, function: fn(f64, f64) -> f64) -> Outcome {
    float(function(a.float()?, b.float()?))
}

/// A logarithm. Integers may be larger than any float.
pub(super) fn logarithm(a: &Number, function: fn(f64) -> f64) -> Outcome {
    if let Whole(n) = a
        && n.is_positive()
        && n.bits() > 1000
    {
        // log(n) = log(n / 2^k) + k log(2)
        let shift = n.bits() - 64;
        let short = (n >> shift).to_f64().unwrap_or(f64::NAN);
        #[expect(clippy::cast_precision_loss, reason = "at most 16,384")]
        let k = shift as f64;
        return float(function(short) + k * function(2.0));
    }
    match a.float()? {
        x if x <= 0.0 => Err("logarithms need a number above 0".to_owned()),
        x => float(function(x)),
    }
}
