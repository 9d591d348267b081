package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

// How many requests are under way at once in one row.
const manyStreams = 200

// rawSteps are HTTP/1 as it is written by hand, and HTTP/2 with many streams.
func rawSteps(w *work) []step {
	path := "/api/v1/namespaces/" + w.namespace + "/configmaps/wire-001"
	// So short that the server knows its length before it begins, as HTTP/1.0 needs it.
	const short = "/version"
	talk := func(name, version, connection string, times int, pipelined bool) step {
		return step{name, func() (any, error) { return conversation(w, short, version, connection, times, pipelined) }}
	}
	return []step{
		talk("HTTP/1.0", "HTTP/1.0", "", 1, false),
		talk("HTTP/1.0, kept alive", "HTTP/1.0", "keep-alive", 3, false),
		talk("HTTP/1.1, kept alive", "HTTP/1.1", "", 3, false),
		talk("HTTP/1.1, three requests at once", "HTTP/1.1", "", 3, true),
		talk("HTTP/1.1, to be closed", "HTTP/1.1", "close", 1, false),
		{"HTTP/2 with many streams", func() (any, error) { return manyAtOnce(w, path) }},
	}
}

// What was said on one connection.
type conversed struct {
	Answers []answer
	// Whether the server ended the connection after its last answer, without being asked again.
	Closed bool
}

func conversation(w *work, path, version, connection string, times int, pipelined bool) (any, error) {
	stream, err := dial(w)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	secret, err := token(w.config)
	if err != nil {
		return nil, err
	}
	request := fmt.Sprintf("GET %s %s\r\nHost: kubernetes\r\nAuthorization: Bearer %s\r\n", path, version, secret)
	if connection != "" {
		request += "Connection: " + connection + "\r\n"
	}
	request += "\r\n"
	if pipelined {
		request = strings.Repeat(request, times)
	}
	var said conversed
	reader := bufio.NewReader(stream)
	for number := range times {
		if number == 0 || !pipelined {
			if _, err := io.WriteString(stream, request); err != nil {
				return nil, err
			}
		}
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			return nil, fmt.Errorf("answer %d: %w", number, err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			return nil, fmt.Errorf("body %d: %w", number, err)
		}
		said.Answers = append(said.Answers, answer{
			Status: response.StatusCode, Proto: response.Proto, Header: sorted(response.Header),
			Body: shown(body),
		})
		said.Closed = response.Close
	}
	if said.Closed {
		if more, err := reader.ReadByte(); err != io.EOF {
			return nil, fmt.Errorf("%q came on a connection that was to be closed: %w", more, err)
		}
	}
	return said, nil
}

// manyAtOnce holds that many requests back until all are under way, as the streams of one client.
func manyAtOnce(w *work, path string) (any, error) {
	client, err := plainClient(w.config, "HTTP/2.0")
	if err != nil {
		return nil, err
	}
	found := make([]string, manyStreams)
	var group sync.WaitGroup
	for number := range found {
		group.Go(func() {
			row := exchange{method: "GET", path: path}
			answer, err := row.send(w, client)
			if err != nil {
				found[number] = err.Error()
				return
			}
			found[number] = fmt.Sprint(answer.Status, answer.Body)
		})
	}
	group.Wait()
	count := map[string]int{}
	for _, one := range found {
		count[one]++
	}
	return count, nil
}
