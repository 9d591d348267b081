// cel asks Kubernetes' own CEL environment and this project's evaluator what each expression is worth, and reports every difference: in
// the result, in the kind and text of an error, in the cost. The expressions are ours (a file, one a line) and those of Kubernetes' own
// library tests, read from their source.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// outcome is what an evaluator says of one expression. Exactly one of Value, Compile and Error is set.
type outcome struct {
	// Value is canonical: see render.
	Value string `json:"value,omitempty"`
	// Compile is the first message of a parser, checker or planner that refused.
	Compile string `json:"compile,omitempty"`
	// Error is the message of an evaluation that failed.
	Error string `json:"error,omitempty"`
	// Cost counts for values alone.
	Cost uint64 `json:"cost"`
}

func main() {
	evaluator := flag.String("evaluator", "", "this project's evaluator: JSON lines in, JSON lines out")
	ours := flag.String("expressions", "", "a file with an expression a line")
	object := flag.String("object", "", "a JSON file: the variable `object`")
	known := flag.String("known", "", "a file with the differences that are known: expression, tab, reason")
	library := flag.String("library", "", "the folder of Kubernetes' CEL libraries, with their tests")
	functions := flag.Bool("functions", false, "print all function declarations, and end")
	table := flag.String("table", "", "a file that must hold these declarations")
	answers := flag.Bool("answers", false, "print Kubernetes' own answers, and end")
	bench := flag.String("bench", "", "time this expression instead, and print nanoseconds for one evaluation")
	flag.Parse()
	different, err := run(*evaluator, *ours, *object, *known, *library, *table, *functions, *answers, *bench)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cel:", err)
	}
	if err != nil || different > 0 {
		os.Exit(1)
	}
}

func run(evaluator, ours, object, known, library, table string, functions, answers bool, bench string) (int, error) {
	input, err := readObject(object)
	if err != nil {
		return 0, err
	}
	kubernetes, err := newKubernetes(input)
	if err != nil {
		return 0, err
	}
	if functions {
		fmt.Println(strings.Join(kubernetes.functions(), "\n"))
		return 0, nil
	}
	if bench != "" {
		return 0, kubernetes.bench(bench)
	}
	own, err := readLines(ours)
	if err != nil {
		return 0, err
	}
	theirs, err := libraryTests(library)
	if err != nil {
		return 0, err
	}
	expressions := unique(append(own, theirs...))
	if answers {
		return 0, kubernetes.printAnswers(expressions)
	}
	reasons, err := readKnown(known)
	if err != nil {
		return 0, err
	}
	fmt.Printf("cel: %d expressions of ours, %d of Kubernetes' library tests\n", len(own), len(theirs))
	declared, err := readLines(table)
	if err != nil {
		return 0, err
	}
	if !slices.Equal(declared, kubernetes.functions()) {
		return 0, fmt.Errorf("%s is not what -functions prints: the declarations have changed", table)
	}
	return compare(kubernetes, evaluator, object, expressions, reasons)
}

// compare prints each difference and returns how many there are. A known difference that is none any more counts as well.
func compare(kubernetes *kubernetes, evaluator, object string, expressions []string, reasons map[string]string) (int, error) {
	command := exec.Command(evaluator, object)
	command.Stderr = os.Stderr
	stdin, err := command.StdinPipe()
	if err != nil {
		return 0, err
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := command.Start(); err != nil {
		return 0, err
	}
	written := make(chan error, 1)
	go func() { written <- writeLines(stdin, expressions) }()
	different, knownNow := 0, 0
	lines := bufio.NewReaderSize(stdout, 1<<20)
	for _, expression := range expressions {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return different, fmt.Errorf("the evaluator's answer to %q: %w", expression, err)
		}
		var got outcome
		if err := json.Unmarshal(line, &got); err != nil {
			return different, fmt.Errorf("the evaluator's answer to %q: %w", expression, err)
		}
		want := kubernetes.evaluate(expression)
		what := difference(want, got)
		if _, isKnown := reasons[expression]; isKnown {
			if what == "" {
				different++
				fmt.Printf("no difference any more, but listed as one: %s\n", expression)
			}
			knownNow++
			continue
		}
		if what != "" {
			different++
			fmt.Printf("%s: %s\n  Kubernetes %+v\n  the guard  %+v\n", what, expression, want, got)
		}
	}
	if err := <-written; err != nil {
		return different, err
	}
	if err := command.Wait(); err != nil {
		return different, err
	}
	if missing := len(reasons) - knownNow; missing > 0 {
		return different, fmt.Errorf("%d known differences name no expression that is compared", missing)
	}
	fmt.Printf("cel: %d compared, %d known differences, %d others\n", len(expressions), knownNow, different)
	return different, nil
}

// difference names what differs, or nothing.
func difference(want, got outcome) string {
	switch {
	case (want.Compile == "") != (got.Compile == ""):
		return "refused by one alone"
	case want.Compile != "":
		if !sameText(want.Compile, got.Compile) {
			return "refused with another message"
		}
	case (want.Error == "") != (got.Error == ""):
		return "fails in one alone"
	case want.Error != "":
		if !sameText(want.Error, got.Error) {
			return "fails with another message"
		}
	case want.Value != got.Value:
		return "another value"
	case want.Cost != got.Cost:
		return fmt.Sprintf("cost %d, not %d", got.Cost, want.Cost)
	}
	return ""
}

// sameText compares messages whose text is CEL's own. What Go's parsers of numbers, times, URLs, addresses and the ANTLR grammar say, and what
// names a type of Go, is an implementation's: there the fact that both refuse is enough.
func sameText(want, got string) bool {
	if want == got {
		return true
	}
	for _, implementation := range []string{
		"Syntax error", "parse", "parsing", "unable to", "error converting", "invalid", "unrecognized format", "IP Address", "CIDR", "regex",
		"type conversion error", "no such overload", "out of range", "exceed", "overflow", "No Major.Minor.Patch", "Version string", "Short version", "expected iterable type", "comprehension range type",
	} {
		if strings.Contains(want, implementation) {
			return true
		}
	}
	return false
}

func writeLines(out io.WriteCloser, expressions []string) error {
	buffered := bufio.NewWriter(out)
	encoder := json.NewEncoder(buffered)
	encoder.SetEscapeHTML(false)
	for _, expression := range expressions {
		if err := encoder.Encode(expression); err != nil {
			return err
		}
	}
	return errors.Join(buffered.Flush(), out.Close())
}

func unique(all []string) []string {
	seen := map[string]bool{}
	var kept []string
	for _, expression := range all {
		if !seen[expression] {
			seen[expression] = true
			kept = append(kept, expression)
		}
	}
	return kept
}
