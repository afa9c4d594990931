//! `Compiler.memory` (JDK 22 and later): what each compilation took from the C heap for its arenas,
//! at its peak. Source: HotSpot's compilationMemoryStatistic.cpp; the columns differ from release
//! to release, so they are found by their names.

use super::named;
use crate::figures::Named;

/// JDK 25 starts with the first, JDK 22 to 24 with the second.
pub(super) fn is_memory(line: &str) -> bool {
    line.starts_with("Compiler Memory Statistic") || line.starts_with("Compilation memory statistics")
}

/// By method: arena bytes at the peak, and compilations. A table, or blocks of lines where
/// `verbose` was asked for.
pub(super) fn memory(text: &str) -> Vec<Named> {
    let (mut all, mut columns): (Vec<Named>, Vec<&str>) = (Vec::new(), Vec::new());
    let (mut method, mut compiler) = (None, "");
    for line in text.lines().map(str::trim) {
        let words = || line.split_ascii_whitespace();
        if let Some((key, value)) = line.split_once(" : ") {
            match (key.trim(), value.trim()) {
                ("Method", value) => (method, compiler) = (Some(value), ""),
                ("Compiler", value) => compiler = value,
                ("Arena Usage at peak", value) => {
                    // The first number; the same may follow in other units.
                    let bytes = value.split_ascii_whitespace().next().and_then(|bytes| bytes.parse().ok());
                    all.extend(method.take().zip(bytes).map(|(method, bytes)| row(method, compiler, bytes)));
                }
                _ => {}
            }
        } else if words().any(|word| word == "total") && words().last() == Some("method") {
            // The JDK has a dozen; each is looked for in each row.
            columns = words().take(64).collect();
        } else if let Some(method) = columns.len().checked_sub(1) {
            let at = |name: &str| columns.iter().position(|column| *column == name);
            let value = |name: &str| words().nth(at(name)?);
            let Some(bytes) = value("total").and_then(|bytes| bytes.parse().ok()) else { continue };
            let Some(method) = words().nth(method) else { continue };
            all.push(row(method, value("ctyp").or(value("type")).unwrap_or_default(), bytes));
        }
    }
    all
}

/// `java/nio/Bits::reserveMemory((JJ)V)` of `c1`.
fn row(method: &str, compiler: &str, bytes: u64) -> Named {
    let name = method.split('(').next().unwrap_or(method).replace("::", ".").replace('/', ".");
    let name = if compiler.is_empty() { name } else { format!("{name} ({compiler})") };
    named(&name, bytes, Some(1))
}

#[cfg(test)]
mod tests {
    use super::super::tests::figures;

    // Lines as JDK 25 prints them, and the columns of JDK 23.
    #[test]
    fn compilations_by_method() {
        let table = "32439:\nCompiler Memory Statistic\n    \
            ctyp  total     ra        node      states    limit     time    id    thread             method\n    \
            c2    3889600   2109720   458192    10200     -         0.353   33    0x00007fade00dab80 W::main(([Ljava/lang/String;)V) \n    \
            c2    947424    477024    130912    10200     -         0.270   30    0x00007fade00dab80 jdk/internal/A::b((I[BII)I) \n    \
            c2    100       7         0         0         -         0.286   31    0x00007fade00dab80 jdk/internal/A::b((I[BII)I) \n    \
            Total: 3 (C2: 3)\n";
        let expected = [
            ("W.main (c2)".to_owned(), 3_889_600, Some(1)),
            ("jdk.internal.A.b (c2)".to_owned(), 947_524, Some(2)),
        ];
        assert_eq!(figures(table), expected);
        let verbose = "1:\nCompiler Memory Statistic\n    Method              : W::main(([Ljava/lang/String;)V)\n    \
            Compiler            : c2\n    Arena Usage at peak : 3889600\n    Nodes at peak       : 1545\n    \
            >24                       ctorChaitin   1973768 (+0)         1202 (+0) \n";
        assert_eq!(figures(verbose), expected[..1]);
        let older = "Compilation memory statistics\n\nLegend:\n  total  : memory allocated via arenas while compiling\n\n\
            total     Others    RA        result  #nodes  limit   time    type  #rc thread              method\n\
            31920     500       20        ok      100     -       1.8     c1    1   0x00007f15441f3b20  x/Y::z(()V)\n";
        assert_eq!(figures(older), [("x.Y.z (c1)".to_owned(), 31_920, Some(1))]);
    }
}
