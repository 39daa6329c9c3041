package demomodel

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// metaspace stands for a space in a llama vocabulary: tokenizers write it for the prompt's spaces and
// engines print it as a space.
const metaspace = "▁"

// split cuts the reply into pieces that are all different and none of which is in taken, so that each can
// be a token and a token tells the place in the reply. A piece is the shortest run of whole words, each
// with the space before it, that has not been used yet: words that repeat join the next one.
func split(reply string, taken map[string]bool) []string {
	used := map[string]bool{}
	free := func(p string) bool { return !taken[p] && !used[p] && unreachable(p) }
	var pieces []string
	start := 0
	for _, end := range wordEnds(reply) {
		if p := reply[start:end]; free(p) {
			pieces, used[p], start = append(pieces, p), true, end
		}
	}
	for start < len(reply) { // the last words repeat: they join the pieces before them
		if len(pieces) == 0 {
			return indivisible(reply)
		}
		last := len(pieces) - 1
		start -= len(pieces[last])
		delete(used, pieces[last])
		pieces = pieces[:last]
		if p := reply[start:]; free(p) {
			pieces, start = append(pieces, p), len(reply)
		}
	}
	return pieces
}

// unreachable tells that no prompt is tokenized into p. Were one, and the prompt ended there, the answer would
// go on from the middle. A space is safe, because tokenizers look for metaspace in its place. Without one
// a tokenizer builds a token by joining two, from single characters up, so three characters are safe
// while none of two is in the vocabulary. A text such as <|im_end|> is found whole, and some engines take
// it for the end of the answer even where the model calls it an ordinary word.
func unreachable(p string) bool {
	return strings.Contains(p, " ") || utf8.RuneCountInString(p) > 2 && !strings.ContainsAny(p, "<[")
}

// indivisible cuts a reply that is not free as a whole. A marker falls apart behind its last bracket;
// what is left is one or two characters, where a raw prompt that ends in them gets no answer.
func indivisible(reply string) []string {
	if i := strings.LastIndexAny(reply, "<[") + 1; i > 0 && i < len(reply) {
		return []string{reply[:i], reply[i:]}
	}
	return []string{reply}
}

// wordEnds returns where the words of s end: before each space that follows something else, and at the end.
func wordEnds(s string) []int {
	var ends []int
	space := true
	for i, r := range s {
		if unicode.IsSpace(r) && !space {
			ends = append(ends, i)
		}
		space = unicode.IsSpace(r)
	}
	return append(ends, len(s))
}
