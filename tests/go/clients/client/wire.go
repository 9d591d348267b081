package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"regexp"
	"sort"
	"strings"
	"time"

	"k8s.io/client-go/rest"
)

// A request that is sent as it stands here, by HTTP/1.1 and by HTTP/2, and the status that the API server answers with.
type exchange struct {
	name    string
	method  string
	path    string
	headers map[string]string
	body    func() io.Reader
	trailer map[string]string
	status  int
	// Looked at beside the comparison: what makes the row mean what its name says.
	check func(*answer) error
	// Of HTTP.
	version string
}

// What came back: all of it but Date and Audit-Id, and how the body's end is told: by its length or by chunks, as each connection likes.
type answer struct {
	Status  int
	Proto   string
	Header  []string
	Trailer []string
	// Interim answers, as `100 Continue`. The guard sends none over HTTP/2, where no client needs them to go on.
	Interim []int
	// Whole if it is short, its length and hash if not.
	Body   string
	header http.Header
	raw    []byte
}

const shortest = 2000

// What differs between any two answers, where a text is too long to be compared but by its hash.
var exceptions = []struct {
	pattern *regexp.Regexp
	place   string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`"uid":"[0-9a-f-]{36}"`), "UID"},
	// How old an object is, in a Table.
	{regexp.MustCompile(`"(\d+[dhms]){1,2}"`), "AGE"},
	// A watch that lasts has more of them; not the one that ends its initial events.
	{regexp.MustCompile(`(?m)^\{"type":"BOOKMARK","object":\{"kind":"\w+","apiVersion":"v1","metadata":\{"resourceVersion":"\d+"\}\}\}\n`), ""},
	{regexp.MustCompile(`"resourceVersion":"\d+"`), "VERSION"},
}

// wire is what the API server says to requests that no client library would send alike.
func wire(w *work) error {
	fixed, err := lastVersion(w)
	if err != nil {
		return err
	}
	var failures []error
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		client, err := plainClient(w.config, version)
		if err != nil {
			return err
		}
		for _, exchange := range exchanges(w, fixed) {
			name := version + " " + exchange.name
			exchange.version = version
			answer, err := exchange.send(w, client)
			if err == nil {
				err = errors.Join(exchange.judge(answer), tell(name, answer))
			}
			if err != nil {
				failures = append(failures, fmt.Errorf("%s: %w", name, err))
			}
		}
	}
	failures = append(failures, inOrder(append(rawSteps(w), webSocketSteps(w)...)))
	return errors.Join(failures...)
}

// judge says whether an answer is what the row is about.
func (e *exchange) judge(answer *answer) error {
	if answer.Proto != e.version {
		return fmt.Errorf("was answered by %s", answer.Proto)
	}
	if answer.Status != e.status {
		return fmt.Errorf("was answered %d, not %d: %s", answer.Status, e.status, answer.Body)
	}
	if e.check != nil {
		return e.check(answer)
	}
	return nil
}

// plainClient speaks one version of HTTP, and undoes nothing that the server did.
func plainClient(config *rest.Config, version string) (*http.Client, error) {
	settings, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{TLSClientConfig: settings, DisableCompression: true, ExpectContinueTimeout: 10 * time.Second}
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(version == "HTTP/1.1")
	transport.Protocols.SetHTTP2(version == "HTTP/2.0")
	return &http.Client{Transport: transport, Timeout: time.Minute}, nil
}

// token is what the pod's client shows.
func token(config *rest.Config) (string, error) {
	text, err := os.ReadFile(config.BearerTokenFile)
	return strings.TrimSpace(string(text)), err
}

func (e *exchange) send(w *work, client *http.Client) (*answer, error) {
	result := &answer{}
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
		if e.version == "HTTP/1.1" {
			result.Interim = append(result.Interim, code)
		}
		return nil
	}}
	var body io.Reader
	if e.body != nil {
		body = e.body()
	}
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(w.ctx, trace), e.method, w.config.Host+e.path, body)
	if err != nil {
		return nil, err
	}
	secret, err := token(w.config)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+secret)
	for name, value := range e.headers {
		request.Header.Set(name, value)
	}
	if e.trailer != nil {
		request.Trailer = http.Header{}
		for name, value := range e.trailer {
			request.Trailer.Set(name, value)
		}
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	result.raw, err = io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	result.Status, result.Proto, result.header = response.StatusCode, response.Proto, response.Header
	result.Header, result.Trailer = sorted(response.Header), sorted(response.Trailer)
	result.Body = shown(result.raw)
	return result, nil
}

func sorted(header http.Header) []string {
	var all []string
	for name, values := range header {
		if name != "Date" && name != "Audit-Id" && name != "Content-Length" {
			for _, value := range values {
				all = append(all, name+": "+value)
			}
		}
	}
	sort.Strings(all)
	return all
}

// shown is a body that can be read by people, if it can.
func shown(body []byte) string {
	for _, exception := range exceptions {
		body = exception.pattern.ReplaceAll(body, []byte(exception.place))
	}
	if len(body) > shortest || bytes.ContainsRune(body, 0) {
		return fmt.Sprintf("%d bytes, %s", len(body), digest(body))
	}
	return string(body)
}

// dial opens a connection on which the caller writes HTTP/1 itself.
func dial(w *work) (*tls.Conn, error) {
	settings, err := rest.TLSConfigFor(w.config)
	if err != nil {
		return nil, err
	}
	settings = settings.Clone()
	settings.NextProtos = []string{"http/1.1"}
	connection, err := tls.Dial("tcp", strings.TrimPrefix(w.config.Host, "https://"), settings)
	if err != nil {
		return nil, err
	}
	return connection, connection.SetDeadline(time.Now().Add(time.Minute))
}
