use super::*;

/// The tree as nested calls, so that tests show what binds to what.
fn shape(source: &str) -> String {
    fn write(expr: &Expr) -> String {
        let all = |items: &[Expr]| items.iter().map(write).collect::<Vec<_>>().join(", ");
        match &expr.kind {
            Kind::Literal(value) => format!("{value:?}"),
            Kind::Ident(name) => name.clone(),
            Kind::Struct { name } => format!("{name}{{}}"),
            Kind::Select { operand, field, test } => {
                format!("{}.{field}{}", write(operand), if *test { "~" } else { "" })
            }
            Kind::Call { target: Some(target), function, arguments } => {
                format!("{}.{function}({})", write(target), all(arguments))
            }
            Kind::Call { target: None, function, arguments } => format!("{function}({})", all(arguments)),
            Kind::List(items) => {
                format!("[{}]", items.iter().map(|item| write(&item.value)).collect::<Vec<_>>().join(", "))
            }
            Kind::Map(entries) => format!("{{{}}}", entries.len()),
            Kind::Comprehension(fold) => format!("fold({}, {})", write(&fold.range), write(&fold.step)),
        }
    }
    write(&parse(source).unwrap().root)
}

fn error(source: &str) -> CompileError {
    parse(source).map(|parsed| parsed.nodes).unwrap_err()
}

#[test]
fn operators_bind_as_in_the_grammar() {
    assert_eq!(shape("a + b * c - d"), "_-_(_+_(a, _*_(b, c)), d)");
    assert_eq!(shape("a || b && c || d"), "_||_(a, _&&_(b, c), d)");
    assert_eq!(shape("a ? b : c ? d : e"), "_?_:_(a, b, _?_:_(c, d, e))");
    assert_eq!(shape("!a.b[c] == d in e"), "@in(_==_(!_(_[_](a.b, c)), d), e)");
    assert_eq!(shape("!!a"), "a");
    assert_eq!(shape("has(a.b.c)"), "a.b.c~");
    assert_eq!(shape("l.all(x, x)"), "fold(l, _&&_(@result, x))");
}

#[test]
fn an_error_names_line_column_and_reason() {
    assert_eq!(error("1 +\n  * 2").to_string(), "2:3: Syntax error: unexpected '*', expecting 'expression'");
    assert_eq!(error("'ä' == x y").column, 10);
    assert_eq!(error("a.map(b.c, d)").reason, "argument is not an identifier");
    assert_eq!(error("for").reason, "reserved identifier: for");
    assert_eq!(error("9223372036854775808").reason, "invalid int literal");
}

#[test]
fn every_kind_of_nesting_ends_at_the_limit_and_nothing_overflows() {
    let deep = 10_000;
    for (open, inner, close) in [
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("{1:", "1", "}"),
        ("f(", "1", ")"),
        ("!(", "a", ")"),
        ("-(", "a", ")"),
        ("a ? b : ", "c", ""),
        ("", "1", "+1"),
        ("", "a", ".a"),
        ("", "a", ".?a"),
        ("", "a", "[0]"),
        ("", "a", ".f()"),
        ("", "a", " == a"),
        ("", "a", ".map(x,x)"),
        ("", "a", ".optMap(x,x)"),
        ("a.map(x,", "x", ")"),
        ("T{a:", "1", "}"),
    ] {
        let copies = deep.min(MAX_SOURCE_BYTES / (open.len() + close.len()) - 1);
        let source = format!("{}{inner}{}", open.repeat(copies), close.repeat(copies));
        let reason = error(&source).reason;
        assert!(reason.contains("levels deep") || reason.contains("nodes"), "{open}…{close}: {reason}");
    }
    assert!(error(&"!".repeat(MAX_SOURCE_BYTES + 1)).reason.contains("bytes"));
    assert!(parse(&format!("{}a", "!".repeat(20_000))).is_ok());
    assert!(parse(&vec!["a"; 5_000].join("||")).is_ok());
}
