/* Log-mel features of one frame, for a device: C99, no library but math.h, no allocation.

   log_mel_init once, then log_mel_frame for every 480 samples at 16 kHz, each 400 after the one before; it gives 40 floats, one
   row of the network's input. What the numbers mean: speech_features.py, whose log_mel() gives the same to within 0.002.

   Memory: 512 complex floats to work on, 240 turns, 480 weights of the window, 42 edges: about 7 KB. */
#include <math.h>

enum { WINDOW = 480, FFT = 512, BINS = FFT / 2 + 1, MELS = 40 };
static const float RATE = 16000.0f, LOW = 60.0f, HIGH = 7600.0f, FLOOR = 1e-7f, MEAN = -9.0f, DEVIATION = 4.4f;
static const double PI = 3.14159265358979323846;

static float window[WINDOW], cosine[FFT / 2], sine[FFT / 2], edges[MELS + 2];

static double mel(double hertz) { return 2595.0 * log10(1.0 + hertz / 700.0); }

void log_mel_init(void)
{
    for (int i = 0; i < WINDOW; i++) window[i] = (float)(0.5 - 0.5 * cos(2.0 * PI * i / WINDOW));
    for (int i = 0; i < FFT / 2; i++) {
        cosine[i] = (float)cos(2.0 * PI * i / FFT);
        sine[i] = (float)-sin(2.0 * PI * i / FFT);
    }
    for (int i = 0; i < MELS + 2; i++) {
        double at = mel(LOW) + (mel(HIGH) - mel(LOW)) * i / (MELS + 1);
        edges[i] = (float)(700.0 * (pow(10.0, at / 2595.0) - 1.0));
    }
}

/* Cooley and Tukey's transform, in place: bits reversed first, then butterflies of growing size. */
static void transform(float *re, float *im)
{
    for (int i = 1, j = 0; i < FFT; i++) {
        int bit = FFT / 2;
        for (; j & bit; bit /= 2) j ^= bit;
        j ^= bit;
        if (i < j) {
            float r = re[i], m = im[i];
            re[i] = re[j]; im[i] = im[j];
            re[j] = r; im[j] = m;
        }
    }
    for (int size = 2; size <= FFT; size *= 2)
        for (int start = 0; start < FFT; start += size)
            for (int k = 0; k < size / 2; k++) {
                float c = cosine[k * (FFT / size)], s = sine[k * (FFT / size)];
                int a = start + k, b = a + size / 2;
                float r = re[b] * c - im[b] * s, m = re[b] * s + im[b] * c;
                re[b] = re[a] - r; im[b] = im[a] - m;
                re[a] += r; im[a] += m;
            }
}

/* samples: WINDOW floats in [-1, 1). features: MELS floats. */
void log_mel_frame(const float *samples, float *features)
{
    static float re[FFT], im[FFT];
    for (int i = 0; i < FFT; i++) {
        re[i] = i < WINDOW ? samples[i] * window[i] : 0.0f;
        im[i] = 0.0f;
    }
    transform(re, im);
    for (int m = 0; m < MELS; m++) {
        float left = edges[m], peak = edges[m + 1], right = edges[m + 2], power = 0.0f;
        for (int bin = 0; bin < BINS; bin++) {
            float hertz = bin * RATE / FFT;
            if (hertz <= left || hertz >= right) continue;
            float share = hertz < peak ? (hertz - left) / (peak - left) : (right - hertz) / (right - peak);
            power += share * (re[bin] * re[bin] + im[bin] * im[bin]) / WINDOW;
        }
        features[m] = (logf(power + FLOOR) - MEAN) / DEVIATION;
    }
}
