// Reads lines of hexadecimal, each the bytes of one connection, and answers each with the number of requests in them, or with the error
// that net/http has.
package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for lines.Scan() {
		connection, err := hex.DecodeString(lines.Text())
		if err != nil {
			panic(err)
		}
		count, err := requests(connection)
		if err != nil {
			fmt.Fprintf(out, "error %q\n", err)
		} else {
			fmt.Fprintln(out, count)
		}
	}
}

func requests(connection []byte) (int, error) {
	reader := bufio.NewReader(bytes.NewReader(connection))
	for count := 0; ; count++ {
		request, err := http.ReadRequest(reader)
		if errors.Is(err, io.EOF) {
			return count, nil
		}
		if err != nil {
			return count, err
		}
		if _, err := io.Copy(io.Discard, request.Body); err != nil {
			return count, err
		}
	}
}
