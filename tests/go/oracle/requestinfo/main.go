// requestinfo generates hostile requests, asks `guard describe` and Kubernetes' own RequestInfoFactory what each of them is, and
// reports every difference. What the guard refuses to describe must have the fault that it names, found here anew.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"reflect"
	"sort"
	"strings"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/klog/v2"
)

// As many differences are shown; all are counted.
const shown = 20

// answer is one line of `guard describe`.
type answer struct {
	request.RequestInfo
	// Error is the message to the client, and Reason its kind, where there is no description.
	Error, Reason string
}

func main() {
	guard := flag.String("guard", "guard", "the guard's binary")
	count := flag.Int("n", 1_000_000, "how many requests")
	seed := flag.Uint64("seed", rand.Uint64(), "of the generator")
	flag.Parse()
	// It logs each parameter that it can't decode.
	klog.SetLogger(logr.Discard())
	fmt.Printf("requestinfo: %d requests, -seed %d\n", *count, *seed)
	different, err := compare(*guard, *count, *seed)
	if err != nil {
		fmt.Fprintln(os.Stderr, "requestinfo:", err)
	}
	if err != nil || different > 0 {
		os.Exit(1)
	}
}

func compare(guard string, count int, seed uint64) (different int, err error) {
	command := exec.Command(guard, "describe", "--input", "lines")
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
		return 0, fmt.Errorf("starting %s describe: %w", guard, err)
	}
	asked := make(chan line, 4096)
	written := make(chan error, 1)
	go func() {
		defer close(asked)
		written <- write(stdin, asked, count, seed)
	}()
	refused := map[string]int{}
	alike, answers := 0, bufio.NewReaderSize(stdout, 1<<20)
	for line := range asked {
		got, err := read(answers)
		if err != nil {
			return different, fmt.Errorf("the answer to %s: %w", line, err)
		}
		switch reason := judge(line, got); {
		case reason != "":
			if different++; different <= shown {
				fmt.Printf("DIFFERENT %s\n  %s\n", line, reason)
			}
		case got.Reason != "":
			refused[got.Reason]++
		default:
			alike++
		}
	}
	if err := errors.Join(<-written, command.Wait()); err != nil {
		return different, err
	}
	fmt.Printf("%d described alike, refused for a reason that holds: %s\n%d differences\n", alike, table(refused), different)
	return different, nil
}

func write(to io.WriteCloser, asked chan<- line, count int, seed uint64) error {
	defer to.Close()
	out := bufio.NewWriterSize(to, 1<<16)
	generator := generator{rand.New(rand.NewPCG(seed, 0))}
	for range count {
		line := generator.line()
		if _, err := fmt.Fprintf(out, "%s %s\n", line.method, line.target); err != nil {
			return err
		}
		asked <- line
	}
	return out.Flush()
}

func read(from *bufio.Reader) (got answer, err error) {
	text, err := from.ReadBytes('\n')
	if err != nil {
		return got, err
	}
	return got, json.Unmarshal(text, &got)
}

// judge returns what is wrong, or nothing.
func judge(asked line, got answer) string {
	want, err := kubernetes(asked)
	switch {
	case got.Reason != "":
		if fault, known := faults[got.Reason]; !known || !fault(asked, err) {
			return fmt.Sprintf("refused as %s (%s), which does not hold; Kubernetes: %+v %v", got.Reason, got.Error, want, err)
		}
		return ""
	case err != nil:
		return fmt.Sprintf("described as %+v, but Kubernetes refuses it: %v", got.RequestInfo, err)
	case !equal(*want, got.RequestInfo):
		return fmt.Sprintf("Kubernetes %+v\n  the guard  %+v", *want, got.RequestInfo)
	}
	return ""
}

func equal(a, b request.RequestInfo) bool {
	if len(a.Parts) == 0 && len(b.Parts) == 0 {
		a.Parts, b.Parts = nil, nil
	}
	return reflect.DeepEqual(a, b)
}

// As the API server configures it, see k8s.io/apiserver/pkg/server.NewRequestInfoResolver.
var factory = request.RequestInfoFactory{
	APIPrefixes:          sets.NewString("api", "apis"),
	GrouplessAPIPrefixes: sets.NewString("api"),
}

// kubernetes reads the request from its bytes, as the API server does.
func kubernetes(asked line) (*request.RequestInfo, error) {
	text := asked.method + " " + asked.target + " HTTP/1.1\r\nHost: kubernetes\r\n\r\n"
	parsed, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		return nil, err
	}
	return factory.NewRequestInfo(parsed)
}

func table(counts map[string]int) string {
	var rows []string
	for reason, count := range counts {
		rows = append(rows, fmt.Sprintf("%s %d", reason, count))
	}
	sort.Strings(rows)
	return strings.Join(rows, ", ")
}
